#include "code_sets.h"

#include <string.h>

#include <algorithm>

namespace tidesman {
namespace {

// As in src/feed/domain-parts.ts and name-code.ts.
constexpr uint64_t kSample = 0x60000;
constexpr uint64_t kUsualName = 21;
constexpr uint64_t kEnough = 3072;

using Counts = std::vector<uint32_t>;

void count_name(const uint8_t* from, const uint8_t* to, Counts* counts) {
  uint32_t context = kEnd;
  for (; from < to; from++) {
    uint32_t symbol = kTextSymbol[*from];
    if (symbol == kNoSymbol) continue;
    (*counts)[context * kSymbols + symbol]++;
    context = symbol == kEnd ? kEnd : context % kSymbols * kSymbols + symbol;
  }
}

// The place behind the first line feed from `from` on, or `end`.
const uint8_t* behind_line(const uint8_t* from, const uint8_t* end) {
  if (from >= end) return end;
  const void* feed = memchr(from, '\n', end - from);
  return feed == nullptr ? end : static_cast<const uint8_t*>(feed) + 1;
}

Counts count_sample(const std::vector<Bytes>& lists) {
  uint64_t bytes = 0;
  for (const Bytes& list : lists) bytes += list.size;
  const uint64_t step = std::max<uint64_t>(1, bytes / (kSample * kUsualName)) * kUsualName;
  Counts counts(kContexts * kSymbols);
  for (const Bytes& list : lists) {
    const uint8_t* const end = list.data + list.size;
    for (const uint8_t* from = list.data; from < end;) {
      const uint8_t* start = *from == '.' ? from + 1 : from;
      const uint8_t* behind = behind_line(start, end);
      count_name(start, behind, &counts);
      if (static_cast<uint64_t>(end - from) <= step) break;
      from = behind_line(std::max(from + step, behind) - 1, end);
    }
  }
  return counts;
}

// Two queues, leaves by weight and joined nodes in the order of their making, of which the lightest two are joined.
void huffman(const uint64_t (&weights)[kSymbols], uint8_t (&lengths)[kSymbols]) {
  constexpr uint32_t kNodes = kSymbols * 2 - 1;
  uint32_t leaves[kSymbols];
  for (uint32_t symbol = 0; symbol < kSymbols; symbol++) leaves[symbol] = symbol;
  std::stable_sort(leaves, leaves + kSymbols, [&](uint32_t a, uint32_t b) { return weights[a] < weights[b]; });
  uint64_t weight[kNodes];
  uint32_t parent[kNodes] = {};
  for (uint32_t place = 0; place < kSymbols; place++) weight[place] = weights[leaves[place]];
  uint32_t leaf = 0;
  uint32_t joined = kSymbols;
  for (uint32_t node = kSymbols; node < kNodes; node++) {
    weight[node] = 0;
    for (int of_two = 0; of_two < 2; of_two++) {
      bool is_leaf = leaf < kSymbols && (joined == node || weight[leaf] <= weight[joined]);
      uint32_t lightest = is_leaf ? leaf++ : joined++;
      parent[lightest] = node;
      weight[node] += weight[lightest];
    }
  }
  // Parents stand behind their children.
  uint8_t depth[kNodes];
  depth[kNodes - 1] = 0;
  for (uint32_t node = kNodes - 1; node-- > 0;) depth[node] = depth[parent[node]] + 1;
  for (uint32_t place = 0; place < kSymbols; place++) lengths[leaves[place]] = depth[place];
}

// Appends the lengths of the codes of symbols that occur so often; flatter where one would be longer than kMostCodeBits.
void append_lengths(const uint32_t* counts, std::vector<uint8_t>* sets) {
  uint64_t weights[kSymbols];
  for (uint32_t symbol = 0; symbol < kSymbols; symbol++) weights[symbol] = uint64_t{counts[symbol]} * 64 + 1;
  for (;;) {
    uint8_t lengths[kSymbols];
    huffman(weights, lengths);
    if (*std::max_element(lengths, lengths + kSymbols) <= kMostCodeBits) {
      sets->insert(sets->end(), lengths, lengths + kSymbols);
      return;
    }
    for (uint64_t& weight : weights) weight = weight / 4 + 1;
  }
}

// The number of the set of the counts of row `index`: a new one where they are enough, `otherwise` where they are not.
uint16_t add_set(const Counts& counts, uint32_t index, uint16_t otherwise, CodeSets* sets) {
  const uint32_t* row = counts.data() + index * kSymbols;
  uint64_t sum = 0;
  for (uint32_t symbol = 0; symbol < kSymbols; symbol++) sum += row[symbol];
  if (sum < kEnough) return otherwise;
  append_lengths(row, &sets->lengths);
  return static_cast<uint16_t>(sets->lengths.size() / kSymbols - 1);
}

uint16_t reversed(uint32_t code, int length) {
  uint32_t bits = 0;
  for (int bit = 0; bit < length; bit++) bits |= (code >> bit & 1) << (length - 1 - bit);
  return static_cast<uint16_t>(bits);
}

}  // namespace

CodeSets learn_code_sets(const std::vector<Bytes>& lists) {
  const Counts counts = count_sample(lists);
  Counts of_second(kContexts);
  Counts of_all(kSymbols);
  for (uint32_t index = 0; index < counts.size(); index++) {
    of_second[index % kContexts] += counts[index];
    of_all[index % kSymbols] += counts[index];
  }
  CodeSets sets;
  append_lengths(of_all.data(), &sets.lengths);
  uint16_t seconds[kSymbols];
  for (uint32_t second = 0; second < kSymbols; second++) seconds[second] = add_set(of_second, second, 0, &sets);
  for (uint32_t context = 0; context < kContexts; context++) {
    sets.contexts.push_back(add_set(counts, context, seconds[context % kSymbols], &sets));
  }
  return sets;
}

std::vector<uint16_t> codes_of(const CodeSets& sets) {
  std::vector<uint16_t> codes(sets.lengths.size());
  for (size_t set = 0; set < codes.size(); set += kSymbols) {
    // The first code of each length (RFC 1951 section 3.2.2), then a code for each symbol.
    uint32_t count[kMostCodeBits + 1] = {};
    uint32_t next[kMostCodeBits + 1] = {};
    for (size_t at = set; at < set + kSymbols; at++) count[sets.lengths[at]]++;
    for (int length = 1; length < kMostCodeBits; length++) next[length + 1] = (next[length] + count[length]) << 1;
    for (size_t at = set; at < set + kSymbols; at++) {
      int length = sets.lengths[at];
      codes[at] = static_cast<uint16_t>(reversed(next[length]++, length) | 1 << length);
    }
  }
  return codes;
}

}  // namespace tidesman
