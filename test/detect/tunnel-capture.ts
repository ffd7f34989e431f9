/** Reads the lookups of a capture: pcap (libpcap's classic format, little-endian), Ethernet, IPv4, UDP from or to port 53. */
import { readFileSync } from "node:fs";
import type { LookupEvent } from "../../src/detect/types.ts";

export interface CapturedLookup {
  /** Milliseconds since the first packet. */
  readonly time: number;
  readonly event: LookupEvent;
  /** Bytes of the name. */
  readonly nameBytes: number;
}

export function readCapture(path: string): CapturedLookup[] {
  const file = readFileSync(path);
  if (file.readUInt32LE(0) !== 0xa1b2c3d4 || file.readUInt32LE(20) !== 1)
    throw new Error(`${path}: not such a capture`);
  const lookups: CapturedLookup[] = [];
  let first: number | undefined;
  for (let at = 24; at + 16 <= file.length; ) {
    const time = file.readUInt32LE(at) * 1000 + file.readUInt32LE(at + 4) / 1000;
    const captured = file.readUInt32LE(at + 8);
    const packet = file.subarray(at + 16, at + 16 + captured);
    at += 16 + captured;
    if (packet.length < 42 || packet.readUInt16BE(12) !== 0x0800 || packet[23] !== 17) continue;
    const udp = 14 + (packet[14]! & 15) * 4;
    const message = packet.subarray(udp + 8);
    if (message.length < 17 || (packet.readUInt16BE(udp) !== 53 && packet.readUInt16BE(udp + 2) !== 53))
      continue;
    const name: number[] = [];
    let end = 12;
    while (end < message.length && message[end] !== 0) name.push(fold(message[end++]!));
    if (end + 3 > message.length) continue;
    name.push(0);
    first ??= time;
    const answer = (message[2]! & 0x80) !== 0;
    lookups.push({
      time: time - first,
      nameBytes: name.length,
      event: {
        container: "tunnel",
        phase: answer ? "answer" : "query",
        bytes: Uint8Array.from(name),
        offset: 0,
        type: message.readUInt16BE(end + 1),
        rcode: answer ? message[3]! & 15 : 0,
        size: answer ? message.length : 0,
      },
    });
  }
  return lookups;
}

/** Lengths of labels are below 64, so that folding all bytes alike leaves them alone. */
function fold(byte: number): number {
  return byte >= 65 && byte <= 90 ? byte | 32 : byte;
}
