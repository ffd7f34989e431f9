/** Messages for tests: queries made by hand, so that they can be wrong; replies made and read by the codec of dns2. */
import DNS from "dns2";
import { parseAddress } from "../../src/address.ts";
import { nameToWire } from "../../src/name.ts";

const { Packet } = DNS;
export type Message = DNS.Packet;

export const TYPES: Readonly<Record<string, number>> = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  PTR: 12,
  MX: 15,
  TXT: 16,
  AAAA: 28,
  SRV: 33,
  DNAME: 39,
  HTTPS: 65,
  IXFR: 251,
  AXFR: 252,
  ANY: 255,
};

export interface QueryParts {
  readonly id?: number;
  /** Bytes 2 and 3 of the header; default RD. */
  readonly flags?: number;
  readonly class?: number;
  /** UDP size of an OPT record; absent: no OPT. */
  readonly edns?: number;
  readonly dnssec?: boolean;
  /** Data of the OPT record. */
  readonly options?: readonly number[];
  readonly version?: number;
}

/** A query; `name` keeps its case. */
export function query(name: string, type: number, parts: QueryParts = {}): Buffer {
  const { id = 0x1234, flags = 0x0100, edns, options = [] } = parts;
  const labels = name === "." ? [] : name.split(".");
  const bytes = [id >> 8, id & 255, flags >> 8, flags & 255, 0, 1, 0, 0, 0, 0, 0, edns === undefined ? 0 : 1];
  for (const label of labels) bytes.push(label.length, ...Buffer.from(label, "latin1"));
  bytes.push(0, type >> 8, type & 255, 0, parts.class ?? 1);
  if (edns !== undefined) {
    const dnssec = parts.dnssec ? 0x80 : 0;
    bytes.push(0, 0, 41, edns >> 8, edns & 255, 0, parts.version ?? 0, dnssec, 0);
    bytes.push(options.length >> 8, options.length & 255, ...options);
  }
  return Buffer.from(bytes);
}

/** `NAME TTL TYPE DATA`, one record as a zone file would have it. */
export interface WireRecord {
  readonly name: string;
  readonly ttl: number;
  readonly type: number;
  readonly data: Buffer;
}

/** Reads `NAME TTL TYPE DATA…`. Types: A, AAAA, CNAME, DNAME, NS, PTR, SOA (last number: MINIMUM), MX, TXT, HTTPS, TYPEn HEX. */
export function record(text: string): WireRecord {
  const [name = "", ttl = "", type = "", ...data] = text.trim().split(/\s+/);
  const number = TYPES[type] ?? Number(type.replace("TYPE", ""));
  return { name, ttl: Number(ttl), type: number, data: dataOf(type, data) };
}

function dataOf(type: string, data: readonly string[]): Buffer {
  const [first = ""] = data;
  switch (type) {
    case "A":
    case "AAAA":
      return Buffer.from(parseAddress(first) ?? []);
    case "CNAME":
    case "DNAME":
    case "NS":
    case "PTR":
      return wire(first);
    case "MX":
      return Buffer.concat([Buffer.from([0, Number(first)]), wire(data[1] ?? "")]);
    case "SOA": {
      const numbers = Buffer.alloc(20);
      numbers.writeUInt32BE(Number(data.at(-1)), 16);
      return Buffer.concat([wire(first), wire(data[1] ?? first), numbers]);
    }
    case "TXT": {
      const text = Buffer.from(data.join(" "));
      const strings: Buffer[] = [];
      for (let at = 0; at < text.length; at += 255) {
        const part = text.subarray(at, at + 255);
        strings.push(Buffer.from([part.length]), part);
      }
      return Buffer.concat(strings);
    }
    case "HTTPS":
      return service(first, data[1] ?? ".", data.slice(2));
    default:
      return Buffer.from(data.join(""), "hex");
  }
}

/** SVCB data: priority, target, then `ipv4hint=1.2.3.4,5.6.7.8` and `ipv6hint=…`. */
function service(priority: string, target: string, parameters: readonly string[]): Buffer {
  const parts = [Buffer.from([0, Number(priority)]), wire(target)];
  for (const parameter of parameters) {
    const [key = "", value = ""] = parameter.split("=");
    const body = Buffer.concat(value.split(",").map((address) => Buffer.from(parseAddress(address) ?? [])));
    parts.push(Buffer.from([0, key === "ipv4hint" ? 4 : 6, 0, body.length]), body);
  }
  return Buffer.concat(parts);
}

export function wire(name: string): Buffer {
  const bytes = nameToWire(name);
  if (bytes === null) throw new Error(`no name: ${name}`);
  return Buffer.from(bytes);
}

export interface ReplyParts {
  readonly rcode?: number;
  /** More bits of bytes 2 and 3. */
  readonly flags?: number;
  readonly answers?: readonly WireRecord[];
  readonly authorities?: readonly WireRecord[];
  readonly additionals?: readonly WireRecord[];
}

/** The reply of an upstream to `to`: names of records that equal the question's are compressed. */
export function reply(to: Buffer, parts: ReplyParts): Buffer {
  const { answers = [], authorities = [], additionals = [] } = parts;
  const end = questionEnd(to);
  const head = Buffer.from(to.subarray(0, end));
  head.writeUInt16BE(0x8180 | (parts.flags ?? 0) | (parts.rcode ?? 0), 2);
  head.writeUInt16BE(answers.length, 6);
  head.writeUInt16BE(authorities.length, 8);
  head.writeUInt16BE(additionals.length, 10);
  const asked = head
    .subarray(12, end - 4)
    .toString("latin1")
    .toLowerCase();
  const encode = ({ name, ttl, type, data }: WireRecord): Buffer => {
    const owner = wire(name);
    const fixed = Buffer.alloc(10);
    fixed.writeUInt16BE(type, 0);
    fixed.writeUInt16BE(1, 2);
    fixed.writeUInt32BE(ttl, 4);
    fixed.writeUInt16BE(data.length, 8);
    return Buffer.concat([owner.toString("latin1") === asked ? Buffer.from([0xc0, 12]) : owner, fixed, data]);
  };
  return Buffer.concat([head, ...[...answers, ...authorities, ...additionals].map(encode)]);
}

/** Bytes of header and question. */
export function questionEnd(message: Buffer): number {
  let at = 12;
  while (message[at] !== 0) at += message[at]! + 1;
  return at + 5;
}

export function parse(message: Uint8Array): Message {
  return Packet.parse(Buffer.from(message));
}

/** Name of the question, case as it stands. */
export function askedName(message: Buffer): string {
  const labels: string[] = [];
  for (let at = 12; message[at] !== 0; at += message[at]! + 1) {
    labels.push(message.toString("latin1", at + 1, at + 1 + message[at]!));
  }
  return labels.join(".");
}

export function askedType(message: Buffer): number {
  return message.readUInt16BE(questionEnd(message) - 4);
}
