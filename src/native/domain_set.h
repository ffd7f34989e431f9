// The walk over the suffixes of one name in a compiled domain set, in place. src/feed/index.ts describes the layout and
// src/feed/buckets.ts is the twin of this. Whatever the buffer and the question hold, nothing outside of them is read; what
// lies behind the end of the buckets reads as zero, as it does there.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include <vector>

#include "name_code.h"
#include "suffix_hash.h"

namespace tidesman {

class DomainSet {
 public:
  // Bytes of a name in wire form without its root label, and labels it may have.
  static constexpr size_t kMostBytes = 254;
  static constexpr size_t kMostLabels = kMostBytes / 2;
  // Of a name as text, its end included.
  static constexpr size_t kMostText = 254;
  // Bytes of `question`.
  static constexpr size_t kQuestion = 256;
  // Words of `found`: how many entries, then so many of each entry.
  static constexpr size_t kEntryWords = 4;
  static constexpr size_t kFound = 1 + kMostLabels * kEntryWords;

  struct Parts {
    // Rows of 16 words.
    const uint16_t* directory;
    size_t directory_words;
    const uint16_t* buckets;
    size_t bucket_words;
    // kContexts numbers of sets, and kSymbols codes for each of `sets`, as CodeTables of name-code.ts; copied.
    const uint16_t* contexts;
    const uint16_t* codes;
    size_t sets;
    uint32_t key0;
    uint32_t key1;
    // At most 32.
    uint32_t group_bits;
  };

  explicit DomainSet(const Parts& parts);

  // Writes to `found` what is stored of the suffixes of the name in wire form that begins the `size` bytes of `question`
  // and has its root label there, the shortest first: labels before it, group, and word and bit at which the stored name
  // begins. Nothing for what is no name. `question` has kQuestion bytes.
  void find(const uint8_t* question, size_t size, uint32_t* found) const;

  // Writes the stored name that begins at a bit of a word, at most kMostText bytes; returns how many, its end left out.
  size_t text(size_t word, uint32_t bit, char* out) const;

 private:
  struct Name;
  struct Suffix;
  // The first bit lowest.
  struct Code {
    uint16_t bits;
    uint16_t size;
  };
  // The symbol that the next bits are, for each set and each value of so many; no bits where its code is longer.
  struct ShortCode {
    uint8_t symbol;
    uint8_t bits;
  };
  static constexpr int kShortBits = 6;
  static constexpr uint32_t kShortCodes = 1 << kShortBits;
  void index_short_codes() const;
  // The group, kAbsent or kInterior; and where the name stands.
  int64_t probe(Name* name, Suffix* suffix, uint32_t* place) const;
  // Makes what `equals` compares, once.
  void encode_for(Suffix* suffix, Name* name) const;
  bool equals(const Name& name, const Suffix& suffix, size_t bit) const;
  void encode(size_t from, Name* name) const;
  void encode_head(const Name& name, Suffix* suffix) const;
  size_t beginning_of(size_t word) const;
  size_t size_of(uint32_t slot, size_t names, size_t offset) const;
  // From so many bits behind the beginning of the buckets on; at least 57 of them are sure.
  uint64_t bits_at(size_t bit) const;

  const uint16_t* directory_;
  const uint16_t* buckets_;
  size_t bucket_words_;
  uint64_t rows_;
  uint32_t key0_;
  uint32_t key1_;
  uint32_t group_bits_;
  bool waits_;
  // Of each context.
  std::vector<uint16_t> sets_;
  // kSymbols for each set.
  std::vector<Code> codes_;
  mutable std::vector<ShortCode> short_codes_;
};

}  // namespace tidesman
