#include "domain_set.h"

#include <string.h>

#include <algorithm>

namespace tidesman {
namespace {

// src/feed/format.ts.
constexpr size_t kRowWords = 16, kRowHead = 2, kRowBuckets = kRowWords - kRowHead;
constexpr uint32_t kNameSlot = 0x8000, kMarkerHash = 0x7fff, kNameHash = 0xff;
constexpr int kSizeShift = 8, kLongSizeBits = 12;
constexpr uint32_t kLongName = 127;

constexpr int64_t kAbsent = -1, kInterior = -2;

// Bytes of buckets that a processor is taken to hold near: look-ups do not wait for memory then, and do nothing meanwhile.
constexpr size_t kCached = 0x200000;
constexpr size_t kLineWords = 32;

// What `bits_at` gives at least, in whole bytes.
constexpr size_t kSureBits = 56;

// kTextSymbol with what is no symbol as the one that can only be the last.
constexpr std::array<uint8_t, 256> make_symbols() {
  std::array<uint8_t, 256> symbols = kTextSymbol;
  for (auto& symbol : symbols) symbol = symbol == kNoSymbol ? kEnd : symbol;
  return symbols;
}
constexpr std::array<uint8_t, 256> kSymbol = make_symbols();

// kFold of so many bytes and up to 15 more, 16 at a time.
void fold(const uint8_t* bytes, size_t length, uint8_t* out) {
  typedef uint8_t Block __attribute__((vector_size(16)));
  for (size_t at = 0; at < length; at += sizeof(Block)) {
    Block block;
    memcpy(&block, bytes + at, sizeof block);
    block += reinterpret_cast<Block>(block - 'A' < 26) & 32;
    block |= reinterpret_cast<Block>(block == '.') | reinterpret_cast<Block>(block == '\n');
    memcpy(out + at, &block, sizeof block);
  }
}

// Appends a code to `out`, to which whole bytes are written behind the `bits` so far; `held`: what is not whole yet.
template <typename Code>
inline void append(Code code, uint64_t* held, uint32_t* bits, uint8_t* out) {
  *held |= static_cast<uint64_t>(code.bits) << *bits % 8;
  memcpy(out + *bits / 8, held, sizeof *held);
  *held >>= (*bits % 8 + code.size) & ~7u;
  *bits += code.size;
}

uint32_t size_units(uint32_t slot) { return (slot & ~kNameSlot) >> kSizeShift; }

}  // namespace

// A name asked for, in the form in which names are stored: folded, a dot before every label, a line feed behind the last.
struct DomainSet::Name {
  // More than is asked for is folded, and hashed in words.
  uint8_t text[kQuestion + 16];
  size_t length;
  // Where the labels begin that are coded.
  size_t coded = SIZE_MAX;
  // The last place of what no stored name has.
  size_t wrong = 0;
  // The code of what stands behind `coded`, from which place which bit on, and all its bits. A code depends on the two
  // symbols before it, hence every suffix but its first two symbols has the same.
  uint8_t code[kMostText * kMostCodeBits / 8 + 1 + sizeof(uint64_t)];
  uint16_t bits[kMostText + 2];
};

// A suffix of it.
struct DomainSet::Suffix {
  // Where its first label begins.
  size_t at = 0;
  // Lower half of its hash, its word of the directory, and where its bucket begins.
  uint32_t low = 0;
  size_t word = 0;
  size_t bucket = 0;
  // The code of its first two symbols; no bits while it was not made.
  uint32_t head = 0;
  uint32_t head_bits = 0;
};

DomainSet::DomainSet(const Parts& parts)
    : directory_(parts.directory),
      buckets_(parts.buckets),
      bucket_words_(parts.bucket_words),
      rows_(parts.directory_words / kRowWords),
      key0_(parts.key0),
      key1_(parts.key1),
      group_bits_(parts.group_bits),
      waits_(parts.bucket_words * sizeof(uint16_t) > kCached),
      sets_(kContexts),
      // At least one set, of which every context without one is.
      codes_(std::max<size_t>(parts.sets, 1) * kSymbols) {
  std::transform(parts.codes, parts.codes + parts.sets * kSymbols, codes_.begin(), [](uint16_t code) {
    const int size = code == 0 ? 0 : bits_of(code);
    return Code{static_cast<uint16_t>(code & ((1 << size) - 1)), static_cast<uint16_t>(size)};
  });
  std::transform(parts.contexts, parts.contexts + kContexts, sets_.begin(),
                 [&](uint16_t set) { return set < parts.sets ? set : uint16_t{0}; });
}

void DomainSet::find(const uint8_t* question, size_t size, uint32_t* found) const {
  found[0] = 0;
  uint8_t labels[kMostLabels + 1];
  size_t count = 0;
  size_t length = 0;
  for (;; length += question[length] + 1) {
    if (length > kMostBytes || length >= size || question[length] > 63) return;
    labels[count] = static_cast<uint8_t>(length);
    if (question[length] == 0) break;
    count++;
  }
  if (count < 2 || rows_ == 0) return;

  Name name;
  name.length = length;
  fold(question, length, name.text);
  for (size_t label = 0; label < count; label++) name.text[labels[label]] = '.';
  name.text[length] = '\n';
  SuffixHash hash(key0_, key1_);
  hash.stored_label(name.text + labels[count - 1] + 1, length - labels[count - 1] - 1);
  // Call it for one label after the other, from the right.
  const auto suffix_at = [&](size_t label) {
    Suffix suffix;
    suffix.at = labels[label];
    hash.stored_label(name.text + suffix.at + 1, labels[label + 1] - suffix.at - 1);
    const SuffixHash::Result result = hash.finish();
    suffix.low = result.low;
    // As `directoryWord` of format.ts.
    const uint64_t scaled = result.high * rows_;
    suffix.word = (scaled >> 32) * kRowWords + kRowHead + (((scaled & 0xffffffff) * kRowBuckets) >> 32);
    __builtin_prefetch(directory_ + suffix.word);
    return suffix;
  };
  Suffix suffix = suffix_at(count - 2);
  for (size_t label = count - 2;; label--) {
    suffix.bucket = beginning_of(suffix.word);
    Suffix next;
    if (waits_) {
      if (suffix.bucket + kLineWords < bucket_words_) {
        __builtin_prefetch(buckets_ + suffix.bucket);
        __builtin_prefetch(buckets_ + suffix.bucket + kLineWords);
      }
      // Meanwhile. Of the next suffix no more than its row of the directory: most walks end before it.
      if (label > 0) next = suffix_at(label - 1);
      encode_for(&suffix, &name);
    }
    uint32_t* entry = found + 1 + found[0] * kEntryWords;
    const int64_t group = probe(&name, &suffix, entry + 2);
    if (group == kAbsent) return;
    if (group != kInterior) {
      entry[0] = static_cast<uint32_t>(label);
      entry[1] = static_cast<uint32_t>(group);
      found[0]++;
    }
    if (label == 0) return;
    suffix = waits_ ? next : suffix_at(label - 1);
  }
}

int64_t DomainSet::probe(Name* name, Suffix* suffix, uint32_t* place) const {
  const size_t bucket = suffix->bucket;
  if (bucket >= bucket_words_) return kAbsent;
  const size_t names = bucket + 1 + buckets_[bucket];
  if (names > bucket_words_) return kAbsent;
  const uint32_t low = suffix->low;
  int64_t found = kAbsent;
  for (size_t at = bucket + 1; at < names; at++) {
    const uint32_t slot = buckets_[at];
    // The bits that both kinds of slot have.
    if (((slot ^ low) & kNameHash) != 0) continue;
    if ((slot & kNameSlot) == 0) {
      if (((slot ^ low) & kMarkerHash) != 0) continue;
    } else {
      size_t offset = 0;
      for (size_t before = bucket + 1; before < at; before++) offset += size_of(buckets_[before], names, offset);
      if (size_units(slot) == kLongName) offset += kLongSizeBits;
      const size_t group = names * 16 + offset;
      encode_for(suffix, name);
      if (equals(*name, *suffix, group + group_bits_)) {
        place[0] = static_cast<uint32_t>(names);
        place[1] = static_cast<uint32_t>(offset + group_bits_);
        return static_cast<int64_t>(bits_at(group) & ((uint64_t{1} << group_bits_) - 1));
      }
    }
    // A name of equal hash may hide the marker of this one, so it too lets the walk go on.
    found = kInterior;
  }
  return found;
}

void DomainSet::encode_for(Suffix* suffix, Name* name) const {
  if (suffix->head_bits != 0) return;
  // The suffix alone, then all the rest.
  if (suffix->at < name->coded) encode(name->coded == SIZE_MAX ? suffix->at : 0, name);
  encode_head(*name, suffix);
}

void DomainSet::encode(size_t from, Name* name) const {
  // Apart from the object, which what is written could otherwise be part of.
  const uint16_t* sets = sets_.data();
  const Code* codes = codes_.data();
  uint64_t held = 0;
  uint32_t bits = 0;
  uint32_t first = kEnd;
  uint32_t second = kEnd;
  size_t wrong = 0;
  for (size_t at = from + 1; at <= name->length; at++) {
    const uint32_t symbol = kSymbol[name->text[at]];
    name->bits[at] = static_cast<uint16_t>(bits);
    append(codes[sets[first * kSymbols + second] * kSymbols + symbol], &held, &bits, name->code);
    if (symbol == kEnd && at < name->length) wrong = at;
    first = second;
    second = symbol;
  }
  memcpy(name->code + bits / 8, &held, sizeof held);
  name->bits[name->length + 1] = static_cast<uint16_t>(bits);
  name->wrong = wrong;
  name->coded = from;
}

void DomainSet::encode_head(const Name& name, Suffix* suffix) const {
  const uint32_t first = kSymbol[name.text[suffix->at + 1]];
  const uint32_t second = kSymbol[name.text[suffix->at + 2]];
  const Code one = codes_[sets_[kEnd * kSymbols + kEnd] * kSymbols + first];
  const Code other = codes_[sets_[kEnd * kSymbols + first] * kSymbols + second];
  suffix->head = one.bits | static_cast<uint32_t>(other.bits) << one.size;
  suffix->head_bits = one.size + other.size;
}

bool DomainSet::equals(const Name& name, const Suffix& suffix, size_t bit) const {
  if (name.wrong > suffix.at) return false;
  if (((bits_at(bit) ^ suffix.head) & ((1u << suffix.head_bits) - 1)) != 0) return false;
  bit += suffix.head_bits;
  size_t from = name.bits[suffix.at + 3];
  for (size_t left = name.bits[name.length + 1] - from;; left -= kSureBits, bit += kSureBits, from += kSureBits) {
    uint64_t wanted;
    memcpy(&wanted, name.code + from / 8, sizeof wanted);
    const uint64_t different = bits_at(bit) ^ wanted >> from % 8;
    if (left <= kSureBits) return (different & ((uint64_t{1} << left) - 1)) == 0;
    if ((different & ((uint64_t{1} << kSureBits) - 1)) != 0) return false;
  }
}

size_t DomainSet::text(size_t word, uint32_t bit, char* out) const {
  if (short_codes_.empty()) index_short_codes();
  size_t place = word * 16 + bit;
  size_t length = 0;
  uint32_t first = kEnd;
  uint32_t second = kEnd;
  // Rubbish may have no end.
  for (uint32_t symbol = kNoSymbol; symbol != kEnd && length < kMostText;) {
    const size_t set = sets_[first * kSymbols + second];
    const uint64_t next = bits_at(place);
    const ShortCode code = short_codes_[set * kShortCodes + next % kShortCodes];
    symbol = code.symbol;
    place += code.bits;
    if (code.bits == 0) {
      symbol = kEnd;
      for (uint32_t other = 0; other < kSymbols; other++) {
        const Code long_code = codes_[set * kSymbols + other];
        if (long_code.size <= kShortBits || ((next ^ long_code.bits) & ((1u << long_code.size) - 1)) != 0) continue;
        symbol = other;
        place += long_code.size;
        break;
      }
    }
    out[length++] = kAlphabet[symbol];
    first = second;
    second = symbol;
  }
  return length - 1;
}

void DomainSet::index_short_codes() const {
  short_codes_.resize(codes_.size() / kSymbols * kShortCodes);
  for (size_t index = 0; index < codes_.size(); index++) {
    const Code code = codes_[index];
    if (code.size == 0 || code.size > kShortBits) continue;
    for (uint32_t more = 0; more < kShortCodes; more += 1u << code.size) {
      short_codes_[index / kSymbols * kShortCodes + (code.bits | more)] = {
          static_cast<uint8_t>(index % kSymbols), static_cast<uint8_t>(code.size)};
    }
  }
}

size_t DomainSet::beginning_of(size_t word) const {
  const uint16_t* row = directory_ + word / kRowWords * kRowWords;
  return (row[0] | static_cast<size_t>(row[1]) << 16) + directory_[word];
}

size_t DomainSet::size_of(uint32_t slot, size_t names, size_t offset) const {
  const uint32_t size = size_units(slot);
  // Without a branch, which would be taken at random.
  if (size != kLongName) return (size * 2) & (0 - (slot >> 15));
  return (slot & kNameSlot) == 0 ? 0 : (bits_at(names * 16 + offset) & ((1 << kLongSizeBits) - 1)) * 2;
}

uint64_t DomainSet::bits_at(size_t bit) const {
  const size_t bytes = bucket_words_ * 2;
  const size_t at = bit / 8;
  uint64_t bits = 0;
  if (at + sizeof bits <= bytes) {
    memcpy(&bits, reinterpret_cast<const uint8_t*>(buckets_) + at, sizeof bits);
  } else if (at < bytes) {
    memcpy(&bits, reinterpret_cast<const uint8_t*>(buckets_) + at, bytes - at);
  }
  return bits >> (bit % 8);
}

}  // namespace tidesman
