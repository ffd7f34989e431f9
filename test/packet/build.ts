/** Packets as bytes, built field by field: what the tests of this folder send, and know the truth about. */
import { parseAddress } from "../../src/address.ts";

export interface Segment {
  readonly protocol: number;
  readonly bytes: Uint8Array;
}

export function address(text: string): Uint8Array {
  const bytes = parseAddress(text);
  if (bytes === null) throw new Error(`${text} is no address`);
  return bytes;
}

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

function be16(value: number): number[] {
  return [(value >> 8) & 255, value & 255];
}

export function tcp(
  sourcePort: number,
  port: number,
  flags = 2,
  payload: Uint8Array = new Uint8Array(),
): Segment {
  const header = [
    ...be16(sourcePort),
    ...be16(port),
    0,
    0,
    0,
    1,
    0,
    0,
    0,
    0,
    0x50,
    flags,
    0xff,
    0xff,
    0,
    0,
    0,
    0,
  ];
  return { protocol: 6, bytes: concat(Uint8Array.from(header), payload) };
}

export function udp(
  sourcePort: number,
  port: number,
  payload: Uint8Array = new Uint8Array(),
  protocol = 17,
): Segment {
  const header = [...be16(sourcePort), ...be16(port), ...be16(8 + payload.length), 0, 0];
  return { protocol, bytes: concat(Uint8Array.from(header), payload) };
}

export function sctp(sourcePort: number, port: number): Segment {
  return {
    protocol: 132,
    bytes: Uint8Array.from([...be16(sourcePort), ...be16(port), 0, 0, 0, 1, 0, 0, 0, 0]),
  };
}

export function icmp(protocol: 1 | 58, type: number, code = 0, body: Uint8Array = new Uint8Array()): Segment {
  return { protocol, bytes: concat(Uint8Array.from([type, code, 0, 0, 0, 0, 0, 0]), body) };
}

export interface Ipv4Options {
  readonly options?: Uint8Array;
  /** In units of eight bytes. */
  readonly fragmentOffset?: number;
  readonly moreFragments?: boolean;
}

export function ipv4(
  source: string,
  destination: string,
  segment: Segment,
  rest: Ipv4Options = {},
): Uint8Array {
  const options = rest.options ?? new Uint8Array();
  const length = 20 + options.length;
  const fragment = (rest.fragmentOffset ?? 0) | (rest.moreFragments === true ? 0x2000 : 0);
  const header = [
    0x40 | (length / 4),
    0,
    ...be16(length + segment.bytes.length),
    0,
    1,
    ...be16(fragment),
    64,
    segment.protocol,
    0,
    0,
  ];
  return concat(Uint8Array.from(header), address(source), address(destination), options, segment.bytes);
}

/** One extension header: its number, and its bytes with the next-header byte still to be filled in. */
export interface Extension {
  readonly kind: number;
  readonly bytes: Uint8Array;
}

export function extension(kind: 0 | 43 | 60, units = 0): Extension {
  const bytes = new Uint8Array(8 + units * 8);
  bytes[1] = units;
  return { kind, bytes };
}

export function authentication(units: number): Extension {
  const bytes = new Uint8Array((units + 2) * 4);
  bytes[1] = units;
  return { kind: 51, bytes };
}

export function fragmentHeader(fragmentOffset: number, more: boolean): Extension {
  return {
    kind: 44,
    bytes: Uint8Array.from([0, 0, ...be16((fragmentOffset << 3) | (more ? 1 : 0)), 0, 0, 0, 9]),
  };
}

export function ipv6(
  source: string,
  destination: string,
  segment: Segment,
  extensions: readonly Extension[] = [],
): Uint8Array {
  const parts = extensions.map(({ bytes }, index) => {
    const copy = bytes.slice();
    copy[0] = extensions[index + 1]?.kind ?? segment.protocol;
    return copy;
  });
  const payload = concat(...parts, segment.bytes);
  const header = [0x60, 0, 0, 0, ...be16(payload.length), extensions[0]?.kind ?? segment.protocol, 64];
  return concat(Uint8Array.from(header), address(source), address(destination), payload);
}
