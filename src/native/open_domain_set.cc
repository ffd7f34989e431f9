// Domain sets in place, one for each time that one is opened: `find` and `text` are functions of their own rather than
// calls with a handle, whose unwrapping would cost as much as the look-up.
#include <algorithm>
#include <memory>

#include "addon.h"
#include "binding.h"
#include "domain_set.h"

namespace tidesman {
namespace {

struct OpenSet {
  DomainSet set;
  std::shared_ptr<uint8_t> question;
  std::shared_ptr<uint32_t> found;
};

napi_value wrong_arguments(napi_env env) {
  napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", "wrong arguments for the addon");
  return nullptr;
}

// find(size)
napi_value find(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value value = nullptr;
  void* data = nullptr;
  uint32_t size = 0;
  if (napi_get_cb_info(env, info, &count, &value, nullptr, &data) != napi_ok ||
      napi_get_value_uint32(env, value, &size) != napi_ok) {
    return wrong_arguments(env);
  }
  const auto* open = static_cast<const OpenSet*>(data);
  open->set.find(open->question.get(), std::min<size_t>(size, DomainSet::kQuestion), open->found.get());
  return nullptr;
}

// text(word, bit) -> string
napi_value text(napi_env env, napi_callback_info info) {
  size_t count = 2;
  napi_value values[2] = {};
  void* data = nullptr;
  uint32_t word = 0;
  uint32_t bit = 0;
  if (napi_get_cb_info(env, info, &count, values, nullptr, &data) != napi_ok ||
      napi_get_value_uint32(env, values[0], &word) != napi_ok ||
      napi_get_value_uint32(env, values[1], &bit) != napi_ok) {
    return wrong_arguments(env);
  }
  char bytes[DomainSet::kMostText];
  const size_t length = static_cast<const OpenSet*>(data)->set.text(word, bit, bytes);
  napi_value result = nullptr;
  napi_create_string_latin1(env, bytes, length, &result);
  return result;
}

// A function that keeps `open` and the memory it reads alive. The arrays hang on it, not on references of ours: so they go
// with it, in one go.
napi_value make_function(napi_env env, const char* name, napi_callback callback, std::shared_ptr<OpenSet> open,
                         napi_value directory, napi_value buckets) {
  napi_value function = nullptr;
  if (napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, open.get(), &function) != napi_ok) return nullptr;
  const napi_property_descriptor kept[] = {
      {"directory", nullptr, nullptr, nullptr, nullptr, directory, napi_default, nullptr},
      {"buckets", nullptr, nullptr, nullptr, nullptr, buckets, napi_default, nullptr},
  };
  if (napi_define_properties(env, function, 2, kept) != napi_ok) return nullptr;
  auto* holder = new std::shared_ptr<OpenSet>(std::move(open));
  auto release = [](napi_env, void* data, void*) { delete static_cast<std::shared_ptr<OpenSet>*>(data); };
  if (napi_add_finalizer(env, function, holder, release, nullptr, nullptr) != napi_ok) {
    delete holder;
    return nullptr;
  }
  return function;
}

}  // namespace

// openDomainSet({ directory, buckets, contexts, codes, key0, key1, groupBits }) -> { question, found, find, text }
napi_value open_domain_set(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  Arguments options = arguments.properties(0);
  const SharedArray directory = options.shared("directory", napi_uint16_array);
  const SharedArray buckets = options.shared("buckets", napi_uint16_array);
  const SharedArray contexts = options.shared("contexts", napi_uint16_array);
  const SharedArray codes = options.shared("codes", napi_uint16_array);
  const int64_t key0 = options.number("key0");
  const int64_t key1 = options.number("key1");
  const int64_t group_bits = options.number("groupBits");
  if (!options.ok() || contexts.count != kContexts || codes.count % kSymbols != 0 ||
      group_bits < 0 || group_bits > 32) {
    return options.fail();
  }
  auto question = std::static_pointer_cast<uint8_t>(allocate(DomainSet::kQuestion));
  auto found = std::static_pointer_cast<uint32_t>(allocate(DomainSet::kFound * sizeof(uint32_t)));
  if (question == nullptr || found == nullptr) return throw_code(env, "ENOMEM", "open a domain set: no memory");
  const DomainSet::Parts parts = {
      static_cast<const uint16_t*>(directory.data),
      directory.count,
      static_cast<const uint16_t*>(buckets.data),
      buckets.count,
      static_cast<const uint16_t*>(contexts.data),
      static_cast<const uint16_t*>(codes.data),
      codes.count / kSymbols,
      static_cast<uint32_t>(key0),
      static_cast<uint32_t>(key1),
      static_cast<uint32_t>(group_bits),
  };
  auto open = std::make_shared<OpenSet>(OpenSet{DomainSet(parts), question, found});
  napi_value result = nullptr;
  napi_create_object(env, &result);
  set(env, result, "question", expose(env, question, DomainSet::kQuestion, napi_uint8_array));
  set(env, result, "found", expose(env, found, DomainSet::kFound, napi_uint32_array));
  set(env, result, "find", make_function(env, "find", find, open, directory.value, buckets.value));
  set(env, result, "text", make_function(env, "text", text, open, directory.value, buckets.value));
  return result;
}

}  // namespace tidesman
