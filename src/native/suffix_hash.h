// HalfSipHash-1-3 over the labels of a domain name from right to left; the twin of src/feed/hash.ts, which gives the
// reasons and the source. Equal keys and labels give equal hashes on both sides.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <array>

namespace tidesman {

// A byte of a label in the form in which names are stored: A-Z as a-z; dot and line feed as 0xff, which no stored name has.
constexpr std::array<uint8_t, 256> make_fold() {
  std::array<uint8_t, 256> fold = {};
  for (int byte = 0; byte < 256; byte++) {
    bool upper = byte >= 'A' && byte <= 'Z';
    fold[byte] = byte == '.' || byte == '\n' ? 0xff : upper ? byte + 32 : byte;
  }
  return fold;
}
inline constexpr std::array<uint8_t, 256> kFold = make_fold();

class SuffixHash {
 public:
  SuffixHash(uint32_t key0, uint32_t key1) : key0_(key0), key1_(key1) { start(); }

  // Forgets all labels.
  void start() {
    v0_ = key0_;
    v1_ = key1_;
    v2_ = 0x6c796765 ^ key0_;
    v3_ = 0x74656462 ^ key1_;
  }

  // Absorbs a label of `size` bytes (at most 255) in any case, one more to the left.
  void label(const uint8_t* bytes, size_t size) {
    size_t at = 0;
    for (; at + 4 <= size; at += 4) {
      absorb(kFold[bytes[at]] | kFold[bytes[at + 1]] << 8 | kFold[bytes[at + 2]] << 16 |
             static_cast<uint32_t>(kFold[bytes[at + 3]]) << 24);
    }
    uint32_t last = static_cast<uint32_t>(size) << 24;
    for (int shift = 0; at < size; at++, shift += 8) last |= kFold[bytes[at]] << shift;
    absorb(last);
  }

  // The same for a label that has no byte to fold, behind which three more bytes can be read.
  void stored_label(const uint8_t* bytes, size_t size) {
    uint32_t word;
    size_t at = 0;
    for (; at + 4 <= size; at += 4) {
      memcpy(&word, bytes + at, sizeof word);
      absorb(word);
    }
    memcpy(&word, bytes + at, sizeof word);
    absorb((word & ((1u << (size - at) * 8) - 1)) | static_cast<uint32_t>(size) << 24);
  }

  // The hash of the labels absorbed so far; more may follow.
  struct Result {
    uint32_t high;
    uint32_t low;
  };
  Result finish() const {
    SuffixHash last = *this;
    last.v2_ ^= 0xee;
    for (int round = 0; round < 3; round++) last.round();
    return {last.v1_ ^ last.v3_, last.v0_ ^ last.v2_};
  }

 private:
  void absorb(uint32_t word) {
    v3_ ^= word;
    round();
    v0_ ^= word;
  }

  void round() {
    v0_ += v1_;
    v1_ = turned(v1_, 5) ^ v0_;
    v0_ = turned(v0_, 16);
    v2_ += v3_;
    v3_ = turned(v3_, 8) ^ v2_;
    v0_ += v3_;
    v3_ = turned(v3_, 7) ^ v0_;
    v2_ += v1_;
    v1_ = turned(v1_, 13) ^ v2_;
    v2_ = turned(v2_, 16);
  }

  static uint32_t turned(uint32_t word, int left) { return word << left | word >> (32 - left); }

  uint32_t key0_;
  uint32_t key1_;
  uint32_t v0_ = 0;
  uint32_t v1_ = 0;
  uint32_t v2_ = 0;
  uint32_t v3_ = 0;
};

}  // namespace tidesman
