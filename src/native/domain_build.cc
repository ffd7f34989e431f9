// The domain half of compiled feeds, made at once from the names of all lists: what src/feed/domain-parts.ts makes, to the
// byte. Whatever the bytes of the lists are, nothing outside of them is read: a name is copied before it is used, and what is
// none in stored form refuses the whole.
#include <string.h>

#include "addon.h"
#include "binding.h"
#include "bucket_writer.h"
#include "code_sets.h"
#include "feed_groups.h"
#include "suffix_records.h"

namespace tidesman {
namespace {

napi_value refuse(napi_env env, Refusal refusal) {
  switch (refusal) {
    case Refusal::kTooMany:
      return throw_code(env, "E2BIG", "more names, or more of them alike, than a domain set holds");
    case Refusal::kNoName:
      return throw_code(env, "EINVAL", "a list holds what is no name in stored form");
    default:
      return throw_code(env, "ENOMEM", "no memory for the names");
  }
}

template <typename T>
napi_value copy_of(napi_env env, const std::vector<T>& values, napi_typedarray_type type) {
  std::shared_ptr<void> memory = allocate(values.size() * sizeof(T));
  if (memory == nullptr) return refuse(env, Refusal::kNoMemory);
  memcpy(memory.get(), values.data(), values.size() * sizeof(T));
  return expose(env, std::move(memory), values.size(), type);
}

}  // namespace

// buildDomains(lists, key0, key1): { names, markers, groups, groupBits, groupWords, contexts, lengths, directory, buckets }
napi_value build_domains(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  const std::vector<Bytes> lists = arguments.byte_arrays(0);
  const uint32_t key0 = arguments.number(1);
  const uint32_t key1 = arguments.number(2);
  if (!arguments.ok()) return arguments.fail();
  const CodeSets sets = learn_code_sets(lists);
  FeedGroups groups(lists.size());
  SuffixRecords records;
  Refusal refusal = records.make(lists, key0, key1, sets, &groups);
  if (refusal != Refusal::kNone) return refuse(env, refusal);
  const int group_bits = groups.size() <= 1 ? 0 : 32 - __builtin_clz(static_cast<uint32_t>(groups.size() - 1));
  BucketWriter writer(records.names() + records.markers(), group_bits);
  refusal = writer.write(records.sorted());
  if (refusal != Refusal::kNone) return refuse(env, refusal);

  napi_value parts = nullptr;
  napi_create_object(env, &parts);
  set(env, parts, "names", make_number(env, static_cast<double>(records.names())));
  set(env, parts, "markers", make_number(env, static_cast<double>(records.markers())));
  set(env, parts, "groups", make_number(env, static_cast<double>(groups.size())));
  set(env, parts, "groupBits", make_number(env, group_bits));
  set(env, parts, "groupWords", copy_of(env, groups.words(), napi_uint32_array));
  set(env, parts, "contexts", copy_of(env, sets.contexts, napi_uint16_array));
  set(env, parts, "lengths", copy_of(env, sets.lengths, napi_uint8_array));
  set(env, parts, "directory", copy_of(env, writer.directory, napi_uint16_array));
  size_t words = 0;
  std::shared_ptr<void> memory = writer.bits.take(&words);
  set(env, parts, "buckets", expose(env, std::move(memory), words, napi_uint32_array));
  return parts;
}

}  // namespace tidesman
