// The alphabet of stored names and the codes of its symbols; the twin of src/feed/name-code.ts, which gives the form.
#pragma once
#include <stdint.h>

#include <array>

namespace tidesman {

inline constexpr char kAlphabet[] = "\nabcdefghijklmnopqrstuvwxyz0123456789-_.";
inline constexpr uint32_t kSymbols = sizeof kAlphabet - 1;
// Ends a name; the context at its beginning is two of it.
inline constexpr uint8_t kEnd = 0;
inline constexpr uint8_t kDot = kSymbols - 1;
inline constexpr uint8_t kNoSymbol = 255;
// Pairs of symbols.
inline constexpr uint32_t kContexts = kSymbols * kSymbols;
// Bits of a code at most.
inline constexpr int kMostCodeBits = 15;

// Symbol of a byte of stored text, and of a byte of a label in a question: any case, but no dot or line feed.
constexpr std::array<uint8_t, 256> make_text_symbols() {
  std::array<uint8_t, 256> symbols = {};
  for (auto& symbol : symbols) symbol = kNoSymbol;
  for (uint32_t symbol = 0; symbol < kSymbols; symbol++) {
    symbols[static_cast<uint8_t>(kAlphabet[symbol])] = static_cast<uint8_t>(symbol);
  }
  return symbols;
}
constexpr std::array<uint8_t, 256> make_label_symbols() {
  std::array<uint8_t, 256> symbols = make_text_symbols();
  for (int letter = 0; letter < 26; letter++) symbols['A' + letter] = symbols['a' + letter];
  symbols['.'] = kNoSymbol;
  symbols['\n'] = kNoSymbol;
  return symbols;
}
inline constexpr std::array<uint8_t, 256> kTextSymbol = make_text_symbols();
inline constexpr std::array<uint8_t, 256> kLabelSymbol = make_label_symbols();

// As `CodeTables` of name-code.ts.
struct Codes {
  // For each context (first symbol * kSymbols + second) the number of its set.
  const uint16_t* contexts = nullptr;
  // For each set and symbol the code, first bit lowest, and a one above its last bit.
  const uint16_t* codes = nullptr;

  uint32_t code(uint32_t first, uint32_t second, uint32_t symbol) const {
    return codes[contexts[first * kSymbols + second] * kSymbols + symbol];
  }
};

// Bits of a code, without the one above them; `code` is not 0.
inline int bits_of(uint32_t code) { return 31 - __builtin_clz(code); }

}  // namespace tidesman
