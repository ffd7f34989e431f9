#include "bucket_writer.h"

#include <stdlib.h>
#include <string.h>

#include <algorithm>

namespace tidesman {
namespace {

// As in src/feed/format.ts and domain-parts.ts.
constexpr uint64_t kSlots = 10;
constexpr uint32_t kRowWords = 16, kRowHead = 2, kRowBuckets = kRowWords - kRowHead;
constexpr size_t kMostSlots = 0xffff;
constexpr uint32_t kNameSlot = 0x8000, kMarkerHash = 0x7fff, kNameHash = 0xff;
constexpr int kSizeShift = 8, kLongSizeBits = 12;
constexpr uint32_t kLongName = 127;
// Bits that a record takes at most: its slot, a true size, a group's number, its code, one more to be even.
constexpr uint64_t kMostRecordBits = 16 + kLongSizeBits + 32 + kMostCodeWords * 32 + 1;

}  // namespace

BitWriter::~BitWriter() { free(words_); }

bool BitWriter::reserve(uint64_t bits) {
  const uint64_t needed = ((bit_ + bits) >> 5) + 2;
  if (needed <= capacity_) return true;
  const uint64_t capacity = std::max(needed, capacity_ * 2);
  auto* words = static_cast<uint32_t*>(realloc(words_, capacity * sizeof(uint32_t)));
  if (words == nullptr) return false;
  if (capacity_ == 0) words[0] = 0;
  words_ = words;
  capacity_ = capacity;
  return true;
}

std::shared_ptr<void> BitWriter::take(size_t* count) {
  *count = (bit_ >> 5) + 2;
  words_[*count - 1] = 0;
  void* fitting = realloc(words_, *count * sizeof(uint32_t));
  std::shared_ptr<void> taken(fitting == nullptr ? words_ : fitting, free);
  words_ = nullptr;
  capacity_ = 0;
  return taken;
}

BucketWriter::BucketWriter(uint64_t slots, int group_bits)
    : rows_(std::max<uint64_t>(1, (slots + kSlots * kRowBuckets - 1) / (kSlots * kRowBuckets))), group_bits_(group_bits) {
  directory.resize(rows_ * kRowWords);
  open_ = kRowHead;
}

Refusal BucketWriter::write(const Chain& sorted) {
  Refusal refusal = Refusal::kNone;
  sorted.each([&](const uint32_t* record) {
    const uint64_t bucket = bucket_of(record[kHigh]);
    while (refusal == Refusal::kNone && open_ < bucket) refusal = close();
    records_.push_back(record);
  });
  while (refusal == Refusal::kNone && open_ < directory.size()) refusal = close();
  return refusal;
}

uint64_t BucketWriter::bucket_of(uint32_t high) const {
  const uint64_t scaled = high * rows_;
  const uint64_t bucket = (scaled & 0xffffffff) * kRowBuckets >> 32;
  return (scaled >> 32) * kRowWords + kRowHead + bucket;
}

uint64_t BucketWriter::next_bucket() const {
  return (open_ + 1) % kRowWords == 0 ? open_ + 1 + kRowHead : open_ + 1;
}

Refusal BucketWriter::close() {
  if (records_.size() > kMostSlots) return Refusal::kTooMany;
  if (!bits.reserve(16 + 16 + records_.size() * kMostRecordBits)) return Refusal::kNoMemory;
  const uint64_t begin = bits.align();
  const uint64_t row = open_ / kRowWords * kRowWords;
  // The first two words of a row are one of 32 bits.
  auto first = static_cast<uint32_t>(begin);
  if (open_ == row + kRowHead) memcpy(&directory[row], &first, sizeof first);
  memcpy(&first, &directory[row], sizeof first);
  if (begin > UINT32_MAX || begin - first > 0xffff) return Refusal::kTooMany;
  directory[open_] = static_cast<uint16_t>(begin - first);
  bits.add(static_cast<uint32_t>(records_.size()), 16);
  for (const uint32_t* record : records_) {
    const uint32_t head = record[kHead];
    const uint32_t slot = head == kMarker
                              ? record[kLow] & kMarkerHash
                              : kNameSlot | (record[kLow] & kNameHash) | std::min(units_of(head), kLongName) << kSizeShift;
    bits.add(slot, 16);
  }
  for (const uint32_t* record : records_) {
    const uint32_t head = record[kHead];
    if (head == kMarker) continue;
    const uint32_t units = units_of(head);
    if (units >= kLongName) bits.add(units + kLongSizeBits / 2, kLongSizeBits);
    bits.add(head >> kSizeBits, group_bits_);
    int left = static_cast<int>(head & kSizeMask);
    for (const uint32_t* word = record + kRecordWords; left > 0; word++, left -= 32) bits.add(*word, std::min(left, 32));
    bits.even();
  }
  records_.clear();
  open_ = next_bucket();
  return Refusal::kNone;
}

}  // namespace tidesman
