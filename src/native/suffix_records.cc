#include "suffix_records.h"

#include <stdlib.h>
#include <string.h>

#include <algorithm>

#include "suffix_hash.h"

namespace tidesman {
namespace {

// Bits of the hash that tell the part.
constexpr int kPartBits = 10;
constexpr int kBelowPart = 32 - kPartBits;
// A part is sorted by so many more bits at most, before single keys are compared.
constexpr int kMostSortBits = 16;
constexpr ptrdiff_t kFew = 16;
constexpr size_t kSlabBlocks = 512;
constexpr size_t kMostLabels = (kMostText + 1) / 2;
constexpr size_t kMostLabel = 63;
// Markers remembered, so that those of a suffix with many names below are put into its part once in a while only.
constexpr uint32_t kRecent = 4096;

// A name in stored form.
struct Name {
  // Its text, and what may be read behind it; the same as symbols, with the end.
  uint8_t text[kMostText + 4] = {};
  uint8_t symbols[kMostText + 1];
  // Where each label but the last ends; `size`: where that one does.
  uint8_t ends[kMostLabels];
  size_t labels = 0;
  size_t size = 0;

  // Reads the name that begins at `from` and ends in a line feed before `end`; false where none does.
  bool read(const uint8_t* from, const uint8_t* end) {
    const size_t most = std::min<size_t>(end - from, kMostText + 1);
    size_t label = 0;
    labels = 0;
    for (size_t at = 0; at < most; at++) {
      const uint8_t symbol = kTextSymbol[from[at]];
      text[at] = from[at];
      symbols[at] = symbol;
      if (symbol != kEnd && symbol < kDot) continue;
      if (symbol == kNoSymbol || at == label || at - label > kMostLabel) return false;
      if (symbol == kEnd) {
        size = at;
        return labels > 0;
      }
      ends[labels++] = static_cast<uint8_t>(at);
      label = at + 1;
    }
    return false;
  }
};

// Codes as they are written: their bits, and how many, each by set and symbol.
class Coder {
 public:
  explicit Coder(const CodeSets& sets) : contexts_(sets.contexts), lengths_(sets.lengths), bits_(codes_of(sets)) {
    for (size_t at = 0; at < bits_.size(); at++) bits_[at] ^= 1u << lengths_[at];
  }

  // Codes a name and its end to `words`; returns the bits.
  uint32_t encode(const Name& name, uint32_t* words) const {
    uint64_t held = 0;
    uint32_t count = 0;
    uint32_t first = kEnd;
    uint32_t second = kEnd;
    uint32_t* word = words;
    for (size_t at = 0; at <= name.size; at++) {
      const uint32_t symbol = name.symbols[at];
      const uint32_t index = contexts_[first * kSymbols + second] * kSymbols + symbol;
      held |= static_cast<uint64_t>(bits_[index]) << count;
      count += lengths_[index];
      // Without a branch, which would be taken every so often: written again and again until it is full.
      *word = static_cast<uint32_t>(held);
      const uint32_t full = count >> 5;
      word += full;
      held >>= full * 32;
      count &= 31;
      first = second;
      second = symbol;
    }
    *word = static_cast<uint32_t>(held);
    return static_cast<uint32_t>(word - words) * 32 + count;
  }

 private:
  const std::vector<uint16_t>& contexts_;
  const std::vector<uint8_t>& lengths_;
  std::vector<uint16_t> bits_;
};

bool have_same_code(const uint32_t* a, const uint32_t* b) {
  if ((a[kHead] & kSizeMask) != (b[kHead] & kSizeMask)) return false;
  return memcmp(a + kRecordWords, b + kRecordWords, code_words(a[kHead]) * sizeof *a) == 0;
}

}  // namespace

BlockPool::~BlockPool() {
  for (void* slab : slabs_) free(slab);
}

Block* BlockPool::take() {
  if (free_ == nullptr) {
    auto* slab = static_cast<Block*>(malloc(kSlabBlocks * sizeof(Block)));
    if (slab == nullptr) return nullptr;
    slabs_.push_back(slab);
    for (size_t index = kSlabBlocks; index-- > 0;) give(slab + index);
  }
  Block* block = free_;
  free_ = block->next;
  return block;
}

Refusal SuffixRecords::make(const std::vector<Bytes>& lists, uint32_t key0, uint32_t key1, const CodeSets& sets,
                            FeedGroups* groups) {
  if (lists.size() * 2 > kMostGroups) return Refusal::kTooMany;
  parts_.resize(1 << kPartBits);
  const Refusal refusal = hash_and_code(lists, key0, key1, sets);
  if (refusal != Refusal::kNone) return refusal;
  for (Chain& part : parts_) {
    sort_part(part);
    for (size_t from = 0; from < keys_.size();) {
      size_t to = from + 1;
      while (to < keys_.size() && keys_[to].hash == keys_[from].hash) to++;
      if (!merge_run(&keys_[from], keys_.data() + to, groups)) return Refusal::kNoMemory;
      from = to;
    }
    if (groups->size() > kMostGroups) return Refusal::kTooMany;
    part.give_back(&pool_);
  }
  return Refusal::kNone;
}

Refusal SuffixRecords::hash_and_code(const std::vector<Bytes>& lists, uint32_t key0, uint32_t key1,
                                     const CodeSets& sets) {
  SuffixHash hash(key0, key1);
  const Coder coder(sets);
  Name name;
  uint32_t code[kMostCodeWords + 1];
  // Words that the twin would need, whose bound is that of both.
  uint64_t words = 0;
  // No hash stands where it would be looked for.
  std::vector<uint64_t> recent(kRecent);
  for (uint32_t place = 0; place < kRecent; place++) recent[place] = ~place & (kRecent - 1);
  for (size_t feed = 0; feed < lists.size(); feed++) {
    const uint8_t* at = lists[feed].data;
    const uint8_t* const end = at + lists[feed].size;
    while (at < end) {
      const bool below = *at == '.';
      const uint8_t* const start = at + below;
      if (!name.read(start, end)) return Refusal::kNoName;
      hash.start();
      const size_t last = name.ends[name.labels - 1] + 1;
      hash.stored_label(name.text + last, name.size - last);
      for (size_t label = name.labels; label-- > 0;) {
        const size_t from = label == 0 ? 0 : name.ends[label - 1] + 1;
        hash.stored_label(name.text + from, name.ends[label] - from);
        const auto [high, low] = hash.finish();
        Chain& part = parts_[high >> kBelowPart];
        words += 2;
        uint32_t size = 0;
        if (label > 0) {
          uint64_t& seen = recent[low & (kRecent - 1)];
          const uint64_t marker = static_cast<uint64_t>(high) << 32 | low;
          if (seen == marker) continue;
          seen = marker;
        } else {
          // It waits for memory while the name is coded.
          part.prefetch();
          size = coder.encode(name, code);
        }
        const uint32_t more = (size + 31) >> 5;
        words += more;
        uint32_t* record = part.extend(kRecordWords + more, &pool_);
        if (record == nullptr) return Refusal::kNoMemory;
        record[kHigh] = high;
        record[kLow] = low;
        record[kHead] = label > 0 ? kMarker : size | static_cast<uint32_t>(feed * 2 + below) << kSizeBits;
        for (uint32_t word = 0; word < more; word++) record[kRecordWords + word] = code[word];
      }
      at = start + name.size + 1;
    }
  }
  return words > UINT32_MAX ? Refusal::kTooMany : Refusal::kNone;
}

// Fills `keys_` with those of the part, by hash, of equal hashes in the order of the lists: dealt out by the next bits, about
// one key to each place, and the few of a place put in order.
void SuffixRecords::sort_part(const Chain& part) {
  scratch_.clear();
  part.each([this](const uint32_t* record) {
    scratch_.push_back({static_cast<uint64_t>(record[kHigh]) << 32 | record[kLow], record});
  });
  int bits = 0;
  while (bits < kMostSortBits && scratch_.size() >> bits > 1) bits++;
  const int shift = 64 - kPartBits - bits;
  const uint64_t mask = (uint64_t{1} << bits) - 1;
  starts_.assign(mask + 2, 0);
  for (const Key& key : scratch_) starts_[(key.hash >> shift & mask) + 1]++;
  for (size_t place = 1; place < starts_.size(); place++) starts_[place] += starts_[place - 1];
  keys_.resize(scratch_.size());
  for (const Key& key : scratch_) keys_[starts_[key.hash >> shift & mask]++] = key;
  // Each start is now the end of its place.
  const auto is_less = [](const Key& a, const Key& b) { return a.hash < b.hash; };
  Key* from = keys_.data();
  for (uint64_t place = 0; place <= mask; place++) {
    Key* const to = keys_.data() + starts_[place];
    if (to - from > kFew) {
      if (!std::is_sorted(from, to, is_less)) std::stable_sort(from, to, is_less);
    } else {
      for (Key* next = from + 1; next < to; next++) {
        const Key key = *next;
        Key* hole = next;
        for (; hole > from && is_less(key, hole[-1]); hole--) *hole = hole[-1];
        *hole = key;
      }
    }
    from = to;
  }
}

// Keeps what is left of keys of one hash; false when there is no memory.
bool SuffixRecords::merge_run(Key* from, Key* to, FeedGroups* groups) {
  uint64_t distinct = 0;
  // One round, unless two names share 64 bits of hash.
  for (Key* key = from; key < to; key++) {
    const uint32_t* first = key->record;
    if (first == nullptr || first[kHead] == kMarker) continue;
    uint32_t group;
    if (to - from == 1) {
      group = groups->number_of_one(first[kHead] >> kSizeBits);
    } else {
      for (Key* other = key; other < to; other++) {
        const uint32_t* record = other->record;
        if (record == nullptr || record[kHead] == kMarker || !have_same_code(record, first)) continue;
        groups->add(record[kHead] >> kSizeBits);
        other->record = nullptr;
      }
      group = groups->number();
    }
    distinct++;
    if (!keep(first, (first[kHead] & kSizeMask) | group << kSizeBits)) return false;
  }
  names_ += distinct;
  if (distinct > 0) return true;
  markers_++;
  return keep(from->record, kMarker);
}

bool SuffixRecords::keep(const uint32_t* record, uint32_t head) {
  const uint32_t count = words_of(record);
  uint32_t* kept = sorted_.extend(count, &pool_);
  if (kept == nullptr) return false;
  memcpy(kept, record, count * sizeof *kept);
  kept[kHead] = head;
  return true;
}

}  // namespace tidesman
