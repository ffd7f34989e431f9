// Huffman codes for names, learned from a sample of them; the twin of what src/feed/name-code.ts learns, which gives the form
// and the reasons. Equal samples give equal sets.
#pragma once
#include <stdint.h>

#include <vector>

#include "binding.h"
#include "name_code.h"

namespace tidesman {

// As `CodeSets` of name-code.ts.
struct CodeSets {
  std::vector<uint16_t> contexts;
  std::vector<uint8_t> lengths;
};

// Learns from the names behind every so many-th byte of the lists, as `sampleOf` takes them. A byte that no stored name has is
// passed over: whoever codes the lists refuses them.
CodeSets learn_code_sets(const std::vector<Bytes>& lists);

// For each set and symbol the code, as `Codes` wants it.
std::vector<uint16_t> codes_of(const CodeSets& sets);

}  // namespace tidesman
