// Writes the directory and the buckets of a domain set; the twin of what src/feed/domain-parts.ts writes, whose layout
// src/feed/index.ts gives.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include <memory>
#include <vector>

#include "suffix_records.h"

namespace tidesman {

// Bits that are written one after the other, the first one lowest, into 32-bit words.
class BitWriter {
 public:
  BitWriter() = default;
  ~BitWriter();
  BitWriter(const BitWriter&) = delete;
  BitWriter& operator=(const BitWriter&) = delete;

  // Makes room for `bits` more, and for the word behind them; false when there is no memory.
  bool reserve(uint64_t bits);
  // Goes on at the next multiple of 16 bits, and tells which.
  uint64_t align() {
    go_to((bit_ + 15) & ~uint64_t{15});
    return bit_ >> 4;
  }
  // Goes on at the next even bit.
  void even() { go_to(bit_ + (bit_ & 1)); }
  // Appends the lowest `count` bits (0 … 32) of `value`, which has no others.
  void add(uint32_t value, int count) {
    const uint64_t word = bit_ >> 5;
    const int shift = bit_ & 31;
    const uint64_t bits = static_cast<uint64_t>(value) << shift;
    words_[word] |= static_cast<uint32_t>(bits);
    words_[word + 1] = static_cast<uint32_t>(bits >> 32);
    bit_ += count;
  }
  // The words written and a zero behind them, freed with the pointer; `count`: how many. `reserve` came before.
  std::shared_ptr<void> take(size_t* count);

 private:
  // The word of `bit_` is always written, those behind it are not.
  void go_to(uint64_t bit) {
    if (bit >> 5 != bit_ >> 5) words_[bit >> 5] = 0;
    bit_ = bit;
  }

  uint32_t* words_ = nullptr;
  uint64_t capacity_ = 0;
  uint64_t bit_ = 0;
};

class BucketWriter {
 public:
  // Of a set of so many slots, whose groups' numbers have `group_bits` bits.
  BucketWriter(uint64_t slots, int group_bits);

  Refusal write(const Chain& sorted);

  std::vector<uint16_t> directory;
  BitWriter bits;

 private:
  Refusal close();
  uint64_t bucket_of(uint32_t high) const;
  uint64_t next_bucket() const;
  uint32_t units_of(uint32_t head) const { return ((head & kSizeMask) + group_bits_ + 1) >> 1; }

  uint64_t rows_;
  int group_bits_;
  // Word of the directory of the bucket that is open, and its records.
  uint64_t open_ = 0;
  std::vector<const uint32_t*> records_;
};

}  // namespace tidesman
