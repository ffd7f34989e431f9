#include "binding.h"

#include <stdlib.h>
#include <uv.h>

namespace tidesman {

Arguments::Arguments(napi_env env, napi_callback_info info) : env_(env) {
  size_t count = kMost;
  if (napi_get_cb_info(env, info, &count, values_, nullptr, nullptr) != napi_ok) ok_ = false;
  count_ = ok_ && count < kMost ? static_cast<int>(count) : kMost;
}

Arguments Arguments::properties(int index) {
  Arguments inner(env_);
  napi_valuetype type = napi_undefined;
  if (index < count_ && napi_typeof(env_, values_[index], &type) == napi_ok && type == napi_object) {
    inner.object_ = values_[index];
  } else {
    inner.ok_ = false;
  }
  return inner;
}

uint32_t Arguments::number(int index) {
  int64_t value = 0;
  if (index >= count_ || napi_get_value_int64(env_, values_[index], &value) != napi_ok || value < 0 ||
      value > UINT32_MAX) {
    ok_ = false;
    return 0;
  }
  return static_cast<uint32_t>(value);
}

static bool read_text(napi_env env, napi_value value, std::string* text) {
  size_t length = 0;
  if (napi_get_value_string_utf8(env, value, nullptr, 0, &length) != napi_ok) return false;
  text->resize(length + 1);
  if (napi_get_value_string_utf8(env, value, text->data(), length + 1, &length) != napi_ok) return false;
  text->resize(length);
  return true;
}

std::string Arguments::text(int index) {
  std::string value;
  if (index >= count_ || !read_text(env_, values_[index], &value)) ok_ = false;
  return value;
}

bool Arguments::boolean(int index) {
  bool value = false;
  if (index >= count_ || napi_get_value_bool(env_, values_[index], &value) != napi_ok) ok_ = false;
  return value;
}

napi_value Arguments::function(int index) {
  napi_valuetype type = napi_undefined;
  if (index >= count_ || napi_typeof(env_, values_[index], &type) != napi_ok || type != napi_function) {
    ok_ = false;
    return nullptr;
  }
  return values_[index];
}

std::vector<Bytes> Arguments::byte_arrays(int index) {
  std::vector<Bytes> arrays;
  uint32_t length = 0;
  ok_ = ok_ && index < count_ && napi_get_array_length(env_, values_[index], &length) == napi_ok;
  for (uint32_t element = 0; ok_ && element < length; element++) {
    napi_handle_scope scope = nullptr;
    napi_value value = nullptr;
    napi_typedarray_type type = napi_int8_array;
    size_t size = 0;
    void* data = nullptr;
    napi_open_handle_scope(env_, &scope);
    ok_ = napi_get_element(env_, values_[index], element, &value) == napi_ok &&
          napi_get_typedarray_info(env_, value, &type, &size, &data, nullptr, nullptr) == napi_ok &&
          type == napi_uint8_array;
    napi_close_handle_scope(env_, scope);
    arrays.push_back({static_cast<const uint8_t*>(data), size});
  }
  return arrays;
}

void* Arguments::unwrap(int index, const napi_type_tag& tag) {
  bool tagged = false;
  void* data = nullptr;
  if (index >= count_ || napi_check_object_type_tag(env_, values_[index], &tag, &tagged) != napi_ok || !tagged ||
      napi_unwrap(env_, values_[index], &data) != napi_ok) {
    ok_ = false;
    return nullptr;
  }
  return data;
}

napi_value Arguments::property(const char* name) {
  napi_value value = nullptr;
  if (object_ == nullptr || napi_get_named_property(env_, object_, name, &value) != napi_ok) ok_ = false;
  return value;
}

int64_t Arguments::number(const char* name) {
  napi_value value = property(name);
  int64_t number = 0;
  if (value == nullptr || napi_get_value_int64(env_, value, &number) != napi_ok) ok_ = false;
  return number;
}

std::string Arguments::text(const char* name) {
  napi_value value = property(name);
  std::string text;
  if (value == nullptr || !read_text(env_, value, &text)) ok_ = false;
  return text;
}

bool Arguments::boolean(const char* name) {
  napi_value value = property(name);
  bool boolean = false;
  if (value == nullptr || napi_get_value_bool(env_, value, &boolean) != napi_ok) ok_ = false;
  return boolean;
}

SharedArray Arguments::shared(const char* name, napi_typedarray_type type) {
  SharedArray array;
  array.value = property(name);
  bool typed = false;
  napi_typedarray_type actual = napi_int8_array;
  napi_value buffer = nullptr;
  void* data = nullptr;
  // What a typed array has for a buffer and is no ArrayBuffer is a shared one.
  bool detachable = true;
  if (array.value == nullptr || napi_is_typedarray(env_, array.value, &typed) != napi_ok || !typed ||
      napi_get_typedarray_info(env_, array.value, &actual, &array.count, &data, &buffer, nullptr) != napi_ok ||
      actual != type || napi_is_arraybuffer(env_, buffer, &detachable) != napi_ok || detachable) {
    ok_ = false;
    return {};
  }
  array.data = data;
  return array;
}

napi_value Arguments::fail() {
  bool pending = false;
  napi_is_exception_pending(env_, &pending);
  if (!pending) napi_throw_type_error(env_, "ERR_INVALID_ARG_TYPE", "wrong arguments for the addon");
  return nullptr;
}

napi_value throw_errno(napi_env env, int error, const std::string& step) {
  return throw_code(env, uv_err_name(-error), step + ": " + uv_strerror(-error));
}

napi_value throw_code(napi_env env, const char* code, const std::string& message) {
  napi_throw_error(env, code, message.c_str());
  return nullptr;
}

napi_value make_number(napi_env env, double value) {
  napi_value result = nullptr;
  napi_create_double(env, value, &result);
  return result;
}

napi_value make_text(napi_env env, const std::string& value) {
  napi_value result = nullptr;
  napi_create_string_utf8(env, value.data(), value.size(), &result);
  return result;
}

void set(napi_env env, napi_value object, const char* name, napi_value value) {
  napi_set_named_property(env, object, name, value);
}

std::shared_ptr<void> allocate(size_t bytes) {
  return std::shared_ptr<void>(calloc(1, bytes), [](void* memory) { free(memory); });
}

napi_value expose(napi_env env, std::shared_ptr<void> memory, size_t count, napi_typedarray_type type) {
  size_t width = type == napi_uint8_array ? 1 : type == napi_uint16_array ? 2 : type == napi_float64_array ? 8 : 4;
  void* data = memory.get();
  auto* holder = new std::shared_ptr<void>(std::move(memory));
  auto release = [](napi_env, void*, void* hint) { delete static_cast<std::shared_ptr<void>*>(hint); };
  napi_value buffer = nullptr;
  napi_value array = nullptr;
  if (napi_create_external_arraybuffer(env, data, count * width, release, holder, &buffer) != napi_ok) {
    delete holder;
    return throw_code(env, "ERR_NO_EXTERNAL_BUFFER", "this JavaScript engine does not take external memory");
  }
  napi_create_typedarray(env, type, count, buffer, 0, &array);
  return array;
}

Callback::Callback(napi_env env, napi_value function, const char* name) : env_(env) {
  napi_value label = nullptr;
  napi_create_reference(env, function, 1, &function_);
  napi_create_string_utf8(env, name, NAPI_AUTO_LENGTH, &label);
  napi_async_init(env, nullptr, label, &context_);
}

Callback::~Callback() {
  if (function_ != nullptr) napi_delete_reference(env_, function_);
  if (context_ != nullptr) napi_async_destroy(env_, context_);
}

bool Callback::call(bool fatal, const uint32_t* numbers, size_t count) {
  napi_handle_scope scope = nullptr;
  if (napi_open_handle_scope(env_, &scope) != napi_ok) return false;
  napi_value function = nullptr;
  napi_value receiver = nullptr;
  napi_value values[2] = {};
  bool done = napi_get_reference_value(env_, function_, &function) == napi_ok && function != nullptr &&
              napi_get_global(env_, &receiver) == napi_ok;
  for (size_t index = 0; done && index < count; index++) {
    done = napi_create_uint32(env_, numbers[index], &values[index]) == napi_ok;
  }
  if (done) done = napi_make_callback(env_, context_, receiver, function, count, values, nullptr) == napi_ok;
  bool pending = false;
  if (!done && napi_is_exception_pending(env_, &pending) == napi_ok && pending) {
    napi_value exception = nullptr;
    if (napi_get_and_clear_last_exception(env_, &exception) == napi_ok && fatal) {
      napi_fatal_exception(env_, exception);
    }
  }
  napi_close_handle_scope(env_, scope);
  return done;
}

}  // namespace tidesman
