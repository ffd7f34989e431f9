/**
 * A hosts file (hosts(5)): an address that leads nowhere, then one or more names. Names that hosts files begin with
 * (`localhost`, `broadcasthost`, …) are left out. A line whose address is that of a real host answers for a name instead
 * of blocking it, and is refused. Addresses may have leading zeros (`000.000.000.000`, `0177.0.0.1`).
 */
import type { ListFormat } from "./format.ts";
import { share } from "./format.ts";
import { COMMENTS, latin1, skipBlanks, wordEnd } from "./lines.ts";
import { isNowhere } from "./nowhere.ts";

const MAX_WORD = 64;
const LINE = /^(?:[\d.x]{1,40}|[\da-f:.]*::[\da-f.]*)\s+[^\s"';,={}]+/i;
const PREAMBLE = /^(?:localhost|localhost[46]?\.localdomain[46]?|local|broadcasthost|ip6-\w+|[0.]+)$/i;
const PREAMBLE_STARTS = new Set([..."bBiIlL0."].map((char) => char.charCodeAt(0)));

export const hosts: ListFormat = {
  name: "hosts",
  match: "exact",
  score: ({ lines }) => share(lines, LINE),
  read(body, out) {
    // Hosts files name one address again and again.
    let last = "";
    let nowhere: boolean | null = null;
    out.readLines(body, COMMENTS, (start, end, line) => {
      let to = wordEnd(body, start, end);
      if (to - start > MAX_WORD) return "no address at the start of the line";
      const address = latin1(body, start, to);
      if (address !== last) nowhere = isNowhere(address);
      last = address;
      if (nowhere === null) return "no address at the start of the line";
      if (!nowhere) return "an address that leads somewhere";
      let names = 0;
      for (let at = skipBlanks(body, to, end); at < end && !COMMENTS.has(body[at]!); names++) {
        to = wordEnd(body, at, end);
        const reason = isPreamble(body, at, to) ? null : out.add(body, at, to);
        if (reason !== null) out.refuseLine(body, at, to, line, reason);
        at = skipBlanks(body, to, end);
      }
      return names === 0 ? "no name behind the address" : null;
    });
  },
};

function isPreamble(body: Uint8Array, start: number, end: number): boolean {
  if (end - start > MAX_WORD || !PREAMBLE_STARTS.has(body[start]!)) return false;
  return PREAMBLE.test(latin1(body, start, end));
}
