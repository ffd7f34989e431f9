// How C++ meets JavaScript here: reading arguments, throwing errors, memory seen by both sides, calling back.
#pragma once
#include <node_api.h>
#include <stdint.h>

#include <memory>
#include <string>
#include <vector>

namespace tidesman {

// Bytes that JavaScript owns.
struct Bytes {
  const uint8_t* data;
  size_t size;
};

// Memory of a typed array over a SharedArrayBuffer, which unlike an ArrayBuffer nobody can detach: it lives as long as
// `value` does. All null for what is none.
struct SharedArray {
  napi_value value = nullptr;
  const void* data = nullptr;
  size_t count = 0;
};

// Arguments of one call, or properties of one options object. A value of the wrong type leaves its default and makes
// `ok()` false; native.ts has checked ranges and says them better, so this is only the last line of defence.
class Arguments {
 public:
  Arguments(napi_env env, napi_callback_info info);
  // Properties of argument `index`.
  Arguments properties(int index);

  uint32_t number(int index);
  std::string text(int index);
  bool boolean(int index);
  napi_value function(int index);
  // The Uint8Arrays of an array; they are valid until JavaScript runs again.
  std::vector<Bytes> byte_arrays(int index);
  // What `wrap` put into argument `index`, or null.
  template <typename T>
  std::shared_ptr<T> wrapped(int index);

  int64_t number(const char* name);
  std::string text(const char* name);
  bool boolean(const char* name);
  SharedArray shared(const char* name, napi_typedarray_type type);

  bool ok() const { return ok_; }
  // Throws a TypeError; returns null for the caller to return.
  napi_value fail();

 private:
  static constexpr int kMost = 6;
  explicit Arguments(napi_env env) : env_(env) {}
  napi_value property(const char* name);
  void* unwrap(int index, const napi_type_tag& tag);

  napi_env env_;
  napi_value values_[kMost] = {};
  int count_ = 0;
  napi_value object_ = nullptr;
  bool ok_ = true;
};

// Throws an Error whose `code` is the errno's name and whose message is `step`. Returns null.
napi_value throw_errno(napi_env env, int error, const std::string& step);
// The same with a name that errno does not know.
napi_value throw_code(napi_env env, const char* code, const std::string& message);

napi_value make_number(napi_env env, double value);
napi_value make_text(napi_env env, const std::string& value);
void set(napi_env env, napi_value object, const char* name, napi_value value);

// A JavaScript object that keeps `value` alive. T has a static `kTag`.
template <typename T>
napi_value wrap(napi_env env, std::shared_ptr<T> value) {
  napi_value object = nullptr;
  auto* holder = new std::shared_ptr<T>(std::move(value));
  auto release = [](napi_env, void* data, void*) { delete static_cast<std::shared_ptr<T>*>(data); };
  if (napi_create_object(env, &object) != napi_ok || napi_type_tag_object(env, object, &T::kTag) != napi_ok ||
      napi_wrap(env, object, holder, release, nullptr, nullptr) != napi_ok) {
    delete holder;
    return nullptr;
  }
  return object;
}

template <typename T>
std::shared_ptr<T> Arguments::wrapped(int index) {
  auto* holder = static_cast<std::shared_ptr<T>*>(unwrap(index, T::kTag));
  return holder == nullptr ? nullptr : *holder;
}

// Zeroed memory that a typed array and C++ own together: it lives until both let go, so a buffer that JavaScript
// detaches or transfers is never a dangling pointer here. Null when there is no memory.
std::shared_ptr<void> allocate(size_t bytes);
napi_value expose(napi_env env, std::shared_ptr<void> memory, size_t count, napi_typedarray_type type);

// A JavaScript function called from the event loop, with microtasks run behind it.
class Callback {
 public:
  Callback(napi_env env, napi_value function, const char* name);
  ~Callback();
  Callback(const Callback&) = delete;
  Callback& operator=(const Callback&) = delete;
  // False when it threw or could not run (a worker being terminated). `fatal`: a throw is an uncaught exception;
  // otherwise it is swallowed here, the caller counts it.
  bool call(bool fatal, const uint32_t* numbers, size_t count);

 private:
  napi_env env_;
  napi_ref function_ = nullptr;
  napi_async_context context_ = nullptr;
};

}  // namespace tidesman
