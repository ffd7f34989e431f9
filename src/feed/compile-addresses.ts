/** Writes the address half of the compiled feeds (layout: index.ts). */
import {
  ADDRESS,
  ADDRESS_MAGIC,
  HEADER,
  HEADER_BYTES,
  IPV4_ROW,
  IPV6_ROW,
  NO_PARENT,
  seal,
  VERSION,
} from "./format.ts";
import { GroupTable } from "./groups.ts";
import { ADDRESS_ROW } from "./parse.ts";

/** A row of a list, and the feed that holds it. */
interface Entry {
  readonly row: Uint8Array;
  readonly feed: number;
}

/** `lists`: for each feed its address rows (`ParsedList.entries`); empty for feeds of domains. */
export function compileAddresses(
  lists: readonly Uint8Array[],
  key: readonly [number, number],
): SharedArrayBuffer {
  const entries: Entry[] = [];
  for (const [feed, list] of lists.entries()) {
    for (let at = 0; at < list.length; at += ADDRESS_ROW) {
      entries.push({ row: list.subarray(at, at + ADDRESS_ROW), feed });
    }
  }
  // Family, address, then length: what contains another stands before it.
  entries.sort(({ row: a }, { row: b }) => {
    return a[0]! - b[0]! || Buffer.compare(a.subarray(2), b.subarray(2)) || a[1]! - b[1]!;
  });
  const groups = new GroupTable();
  const ipv4 = rowsOf(
    entries.filter(({ row }) => row[0] === 4),
    1,
    groups,
  );
  const ipv6 = rowsOf(
    entries.filter(({ row }) => row[0] === 6),
    4,
    groups,
  );
  const groupWords = groups.words();

  const ipv4At = HEADER_BYTES;
  const ipv6At = ipv4At + ipv4.length * 4;
  const groupsAt = ipv6At + ipv6.length * 4;
  const buffer = new SharedArrayBuffer(groupsAt + groupWords.length * 4);
  const words = new Uint32Array(buffer);
  words[HEADER.MAGIC] = ADDRESS_MAGIC;
  words[HEADER.VERSION] = VERSION;
  words[HEADER.BYTES] = buffer.byteLength;
  words[HEADER.KEY0] = key[0];
  words[HEADER.KEY1] = key[1];
  words[HEADER.FEEDS] = lists.length;
  words[HEADER.GROUPS] = groups.size;
  words[HEADER.GROUPS_AT] = groupsAt;
  words[ADDRESS.IPV4] = ipv4.length / IPV4_ROW;
  words[ADDRESS.IPV4_AT] = ipv4At;
  words[ADDRESS.IPV6] = ipv6.length / IPV6_ROW;
  words[ADDRESS.IPV6_AT] = ipv6At;
  words.set(ipv4, ipv4At / 4);
  words.set(ipv6, ipv6At / 4);
  words.set(groupWords, groupsAt / 4);
  seal(buffer);
  return buffer;
}

/** One row for each distinct prefix of sorted entries of one family of `width` words. */
function rowsOf(entries: readonly Entry[], width: 1 | 4, groups: GroupTable): Uint32Array {
  const stride = width + 2;
  const rows = new Uint32Array(entries.length * stride);
  const around: { number: number; row: Uint8Array }[] = [];
  let count = 0;
  for (let index = 0; index < entries.length; ) {
    const { row } = entries[index]!;
    const feeds: number[] = [];
    for (; index < entries.length && Buffer.compare(entries[index]!.row, row) === 0; index++) {
      feeds.push(entries[index]!.feed * 2);
    }
    while (around.length > 0 && !containsRow(around.at(-1)!.row, row)) around.pop();
    const view = new DataView(row.buffer, row.byteOffset);
    const at = count * stride;
    for (let word = 0; word < width; word++) rows[at + word] = view.getUint32(2 + word * 4);
    rows[at + width] = around.at(-1)?.number ?? NO_PARENT;
    rows[at + width + 1] = (row[1]! << 24) | groups.number(feeds);
    around.push({ number: count++, row });
  }
  return rows.slice(0, count * stride);
}

/** Whether the prefix `outer`, which does not sort behind `inner`, contains it. */
function containsRow(outer: Uint8Array, inner: Uint8Array): boolean {
  const length = outer[1]!;
  if (length > inner[1]!) return false;
  const whole = length >> 3;
  for (let index = 2; index < 2 + whole; index++) if (outer[index] !== inner[index]) return false;
  return ((outer[2 + whole] ?? 0) ^ (inner[2 + whole] ?? 0)) >> (8 - (length & 7)) === 0;
}
