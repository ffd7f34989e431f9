// The suffixes of all names of all lists in the order of their hashes: what a domain set is written from. The twin of
// src/feed/suffix-records.ts, with the same records at the end, and less on the way: each is put into its part at once, parts
// are blocks of memory that go round, and a suffix that was just seen to be no name is not put there again.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include <vector>

#include "code_sets.h"
#include "feed_groups.h"

namespace tidesman {

enum class Refusal {
  kNone,
  kNoMemory,
  // More names, or more of them alike, than a domain set holds.
  kTooMany,
  // A list holds what is no name in stored form.
  kNoName,
};

// A record: upper and lower half of its hash, its head; the code of a name follows.
constexpr uint32_t kHigh = 0, kLow = 1, kHead = 2, kRecordWords = 3;
// In place of the head of a name: the suffix is that of names, and none itself.
constexpr uint32_t kMarker = 0xffffffff;
// The head of a name: the bits of its code, and above them its member word, later its group.
constexpr int kSizeBits = 12;
constexpr uint32_t kSizeMask = (1u << kSizeBits) - 1;
constexpr uint32_t kMostGroups = (1u << (32 - kSizeBits)) - 1;
// Bytes of a name as text, as RFC 1035 section 2.3.4 leaves them; the words of the longest code of one with its end.
constexpr size_t kMostText = 253;
constexpr size_t kMostCodeWords = ((kMostText + 1) * kMostCodeBits + 31) / 32;
static_assert((kMostText + 1) * kMostCodeBits <= kSizeMask);

inline uint32_t code_words(uint32_t head) { return ((head & kSizeMask) + 31) >> 5; }
inline uint32_t words_of(const uint32_t* record) {
  return record[kHead] == kMarker ? kRecordWords : kRecordWords + code_words(record[kHead]);
}

// A block of records, none of which reaches over its end. `used`: words, once another block follows.
struct Block {
  static constexpr uint32_t kWords = 509;
  Block* next;
  uint32_t used;
  uint32_t words[kWords];
};
static_assert(sizeof(Block) == 2048 && kRecordWords + kMostCodeWords <= Block::kWords);

// Blocks, taken from memory many at once; all are freed with the pool.
class BlockPool {
 public:
  BlockPool() = default;
  ~BlockPool();
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;
  // Null when there is no memory.
  Block* take();
  void give(Block* block) {
    block->next = free_;
    free_ = block;
  }

 private:
  Block* free_ = nullptr;
  std::vector<void*> slabs_;
};

// Records in the order in which they were added.
class Chain {
 public:
  // Where `count` words can be written; null when there is no memory.
  uint32_t* extend(uint32_t count, BlockPool* pool) {
    if (static_cast<size_t>(end_ - next_) < count && !begin_block(pool)) return nullptr;
    uint32_t* words = next_;
    next_ += count;
    return words;
  }
  // Says that the next record will be written soon.
  void prefetch() const { __builtin_prefetch(next_, 1); }
  template <typename OnRecord>
  void each(OnRecord on_record) const {
    for (const Block* block = first_; block != nullptr; block = block->next) {
      const uint32_t* const end = block == last_ ? next_ : block->words + block->used;
      for (const uint32_t* record = block->words; record < end; record += words_of(record)) on_record(record);
    }
  }
  void give_back(BlockPool* pool) {
    for (Block* block = first_; block != nullptr;) {
      Block* next = block->next;
      pool->give(block);
      block = next;
    }
    *this = Chain();
  }

 private:
  bool begin_block(BlockPool* pool) {
    Block* block = pool->take();
    if (block == nullptr) return false;
    block->next = nullptr;
    if (last_ == nullptr) {
      first_ = block;
    } else {
      last_->used = static_cast<uint32_t>(next_ - last_->words);
      last_->next = block;
    }
    last_ = block;
    next_ = block->words;
    end_ = block->words + Block::kWords;
    return true;
  }

  Block* first_ = nullptr;
  Block* last_ = nullptr;
  uint32_t* next_ = nullptr;
  uint32_t* end_ = nullptr;
};

class SuffixRecords {
 public:
  // Hashes and codes all names of the lists, then leaves one record of each name, with the number of its group in its head,
  // and one of each suffix that is none. Numbers the groups in order of hash.
  Refusal make(const std::vector<Bytes>& lists, uint32_t key0, uint32_t key1, const CodeSets& sets, FeedGroups* groups);

  // In order of hash; those of one hash in the order of the lists.
  const Chain& sorted() const { return sorted_; }
  // Distinct names, and suffixes that are none.
  uint64_t names() const { return names_; }
  uint64_t markers() const { return markers_; }

 private:
  struct Key {
    uint64_t hash;
    // Null once it is merged into another.
    const uint32_t* record;
  };

  Refusal hash_and_code(const std::vector<Bytes>& lists, uint32_t key0, uint32_t key1, const CodeSets& sets);
  void sort_part(const Chain& part);
  bool merge_run(Key* from, Key* to, FeedGroups* groups);
  bool keep(const uint32_t* record, uint32_t head);

  BlockPool pool_;
  std::vector<Chain> parts_;
  // Of the part that is being sorted.
  std::vector<Key> keys_;
  std::vector<Key> scratch_;
  std::vector<uint32_t> starts_;
  Chain sorted_;
  uint64_t names_ = 0;
  uint64_t markers_ = 0;
};

}  // namespace tidesman
