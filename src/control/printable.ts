/** Text from containers, feeds and files on an operator's terminal. */

/**
 * Control characters, C1 controls, bidirectional overrides and line separators as `\xNN` or `\u{NNNN}`: what a container
 * or a feed wrote must not move the cursor, recolour the screen or hide a line.
 */
export function printable(text: string): string {
  return text.replace(CONTROL, (char) => {
    const code = char.codePointAt(0) ?? 0;
    return code < 256 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u{${code.toString(16)}}`;
  });
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for.
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/gu;
