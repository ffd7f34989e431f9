/**
 * What of a name was not seen before. Labels count once: of a name only what lies to the left of a part seen before is new.
 * Three parts beside the domain are remembered one by one, what is left of them as a whole.
 */
import type { DomainTraffic } from "./domain-traffic.ts";
import { label, labelPayload, SHORT, WORD } from "./label-payload.ts";
import { endsInArpa, rootAt } from "./name-end.ts";
import { hashBytes } from "./sketch.ts";

/** Labels that are remembered one by one. */
const PARTS = 3;
/** Length and evidence from which a short label looks drawn; the evidence, also of several together. */
export const DRAWN = 6;
const DRAWN_BITS = 8;

/** Used again for every name: nothing is allocated. */
export class NewLabels {
  /** Bytes of the new labels, and bytes of data among them. */
  size = 0;
  payload = 0;
  /** Of `payload`: in labels that are hexadecimal throughout. */
  hexadecimal = 0;
  /**
   * Further bytes of data, should the short labels that look drawn be it: one alone may be any abbreviation, many of them are
   * none. Several in one name tell together and are in `payload`.
   */
  drawn = 0;
  /** Whether one has bytes that are not ASCII. */
  binary = false;
  /** Where the labels below the domain begin, from the name's first. A name of 255 bytes has at most 127. */
  readonly #starts = new Uint8Array(128);

  /**
   * Measures the name at `offset` whose registrable domain is at `domainAt` and hashes to `domainHash`, and remembers it in
   * `domain`. False when it was seen before as a whole; then the figures stay as they were.
   */
  measure(
    domain: DomainTraffic,
    bytes: Uint8Array,
    offset: number,
    domainAt: number,
    domainHash: number,
  ): boolean {
    const starts = this.#starts;
    let labels = 0;
    for (let start = offset; start < domainAt; start += bytes[start]! + 1) starts[labels++] = start - offset;
    const inArpa = endsInArpa(bytes, rootAt(bytes, domainAt));
    let hash = domainHash;
    let size = 0;
    let payload = 0;
    let hexadecimal = 0;
    let binary = false;
    let isNew = false;
    let short = 0;
    let bits = 0;
    let drawn = 0;
    for (let index = labels - 1; index >= 0; index--) {
      const start = offset + starts[index]! + 1;
      const length = bytes[start - 1]!;
      hash = hashBytes(bytes, start, start + length, hash);
      const single = labels - index <= PARTS;
      isNew = single || index === 0 ? domain.see(hash) : false;
      if (single && !isNew) continue;
      const data = inArpa && length <= 3 ? 0 : labelPayload(bytes, start, length);
      size += length;
      payload += data;
      binary ||= label.binary;
      if (label.hexadecimal) hexadecimal += data;
      if (label.short === 0) continue;
      short += length;
      bits += label.bits;
      if (length >= DRAWN && label.bits > DRAWN_BITS) drawn += length * (1 - WORD);
    }
    if (!isNew) return false;
    const together = short >= SHORT && bits > DRAWN_BITS;
    this.size = size;
    this.payload = together ? payload + short * (1 - WORD) : payload;
    this.drawn = together ? 0 : drawn;
    this.hexadecimal = hexadecimal;
    this.binary = binary;
    return true;
  }
}
