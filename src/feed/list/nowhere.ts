/** Addresses that lists answer with for names that shall not be reached. */
import { parseAddress } from "../../address.ts";

/**
 * Whether `text` is an unspecified or loopback address: 0.0.0.0/8, 127.0.0.0/8, `::`, `::1`. IPv4 numbers may be octal or
 * have leading zeros, and be fewer than four, as inet_aton(3) reads them. Null when it is no address.
 */
export function isNowhere(text: string): boolean | null {
  if (/^[\da-fx.]+$/i.test(text)) {
    const parts = text.split(".");
    if (parts.length > 4 || !parts.every((part) => /^(?:0x[\da-f]+|\d{1,10})$/i.test(part))) return null;
    const first = numberOf(parts[0]!);
    if (parts.length === 1) return first >>> 24 === 0 ? first === 0 : first >>> 24 === 127;
    return first === 0 || first === 127;
  }
  const bytes = parseAddress(text);
  if (bytes === null || bytes.length !== 16) return null;
  return bytes.every((byte, index) => (index === 15 ? byte <= 1 : byte === 0));
}

function numberOf(part: string): number {
  // `0177` is octal; `08` is no octal number, and what lists pad with zeros is decimal.
  if (/^0[0-7]+$/.test(part)) return Number.parseInt(part, 8);
  return /^0x/i.test(part) ? Number(part) : Number.parseInt(part, 10);
}
