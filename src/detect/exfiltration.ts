/**
 * Data that leaves, or comes in, inside lookups: a tunnel (iodine, dns2tcp, dnscat2) or a file cut into names. Each lookup
 * carries something new in the labels below a registrable domain whose owner reads it there. So for each container and
 * domain the bytes of labels that were not there before are summed up, over ten minutes and a day, and weighed by how they
 * look (label-payload.ts: words and numbers weigh little), by how long the name is and by the record type; and so
 * are large answers of types that carry data, to names that are new. The figures stand in exfiltration-options.ts.
 *
 * Labels count once: of a name only what lies to the left of a part seen before is new. Three parts beside the domain
 * are remembered one by one, what is left of them as a whole.
 *
 * What is not seen: data in words or in short labels that look like abbreviations, as long as it is below four times the figures of
 * the slow window; data in the order or time of lookups; data spread over many registrable domains; what goes to an
 * allowed domain. A service that is asked for digests all day looks like a drip and has to be allowed. Names below arpa
 * count by what is no address in them.
 *
 * Memory of a container: about 1.1 KiB for each domain that it asks for names below, at most `domains`, and 1 KiB more for at most
 * `largeDomains` that have more than 40 names: 100 KiB at the very most, some 10 KiB usually.
 */
import { wireToName } from "../name.ts";
import { DomainTraffic, SUM, type Window } from "./domain-traffic.ts";
import { EXFILTRATION_DEFAULTS, type ExfiltrationOptions } from "./exfiltration-options.ts";
import { label, labelPayload } from "./label-payload.ts";
import { chanceBits } from "./lexical.ts";
import { recordType } from "./record-type.ts";
import { registrableAt } from "./registrable.ts";
import { hashBytes } from "./sketch.ts";
import type { Detection, Detector, LookupEvent } from "./types.ts";

export interface ExfiltrationDetector extends Detector<LookupEvent> {
  /**
   * What was told of the domain that the lookup is below of, while it holds, with the lookup's own name; undefined for all
   * others. To be asked for every query, after `observe`: it costs next to nothing where nothing was told of the container.
   */
  suspicious(event: LookupEvent, now: number): Detection | undefined;
  readonly stats: { readonly containers: number; readonly domains: number; readonly bytes: number };
}

/** RFC 1035, RFC 2535, RFC 2782; private use: RFC 6895, section 3.1. */
const TYPE = { CNAME: 5, NULL: 10, MX: 15, TXT: 16, KEY: 25, SRV: 33, PRIVATE: 65_280 } as const;
/** Labels that are remembered one by one. */
const PARTS = 3;
/** Below this many bytes in all labels no domain is watched for a name's sake: `www`, `mail`. */
const SHORT = 5;
const HOUR = 3_600_000;
/** A domain that was told is told again when it has grown by this factor. */
const GROWTH = 10;
/** Length, and evidence that it is no word, from which a first label may be a tunnel's that has nothing to send. */
const POLL = 4;
const POLL_BITS = 4;
/** Of a name asked for an answer: what tells its hash from the name's own. */
const ANSWER = 0x5bd1e995;

class Traffic {
  /** By 30 bits of the registrable domain's hash. */
  readonly domains = new Map<number, DomainTraffic>();
  halved = 0;
  large = 0;
  /** How many were told; 0: nothing can be suspicious. */
  told = 0;
}

export function createExfiltrationDetector(given: Partial<ExfiltrationOptions> = {}): ExfiltrationDetector {
  const options: ExfiltrationOptions = { ...EXFILTRATION_DEFAULTS, ...given };
  const { fast, slow, seed } = options;
  const containers = new Map<string, Traffic>();
  /** Where the labels below the domain begin, from the name's first. */
  const starts = new Uint8Array(128);

  const weightOf = (type: number): number => {
    if (type === TYPE.NULL || type === TYPE.KEY || type >= TYPE.PRIVATE) return options.rareType;
    const carries = type === TYPE.TXT || type === TYPE.CNAME || type === TYPE.MX || type === TYPE.SRV;
    return carries ? options.dataType : 1;
  };

  const trafficOf = (container: string, now: number): Traffic => {
    let traffic = containers.get(container);
    if (traffic === undefined) {
      if (containers.size >= options.containers) {
        for (const first of containers.keys()) {
          containers.delete(first);
          break;
        }
      }
      traffic = new Traffic();
      traffic.halved = now;
      containers.set(container, traffic);
    }
    if (now - traffic.halved >= HOUR) {
      const factor = 2 ** -Math.floor((now - traffic.halved) / HOUR);
      for (const domain of traffic.domains.values()) domain.rank *= factor;
      traffic.halved = now;
    }
    return traffic;
  };

  /** Drops the domain with the least bytes, of the large ones only or of all, and returns it. What is held stays longest. */
  const evict = (traffic: Traffic, largeOnly: boolean, now: number): DomainTraffic | undefined => {
    let least = Number.POSITIVE_INFINITY;
    let key = -1;
    for (const [other, domain] of traffic.domains) {
      if (largeOnly && !domain.isLarge) continue;
      const rank = domain.until > now ? domain.rank + 1e12 : domain.rank;
      if (rank >= least) continue;
      least = rank;
      key = other;
    }
    const evicted = traffic.domains.get(key);
    if (evicted === undefined) return undefined;
    traffic.domains.delete(key);
    if (evicted.isLarge) traffic.large--;
    if (evicted.detection !== null) traffic.told--;
    return evicted;
  };

  const domainOf = (traffic: Traffic, key: number, now: number): DomainTraffic => {
    let domain = traffic.domains.get(key);
    if (domain === undefined) {
      domain = traffic.domains.size >= options.domains ? evict(traffic, false, now) : undefined;
      if (domain === undefined) domain = new DomainTraffic(fast.window, slow.window, now);
      else domain.reset(now);
      traffic.domains.set(key, domain);
    }
    if (domain.needsLarge) {
      if (traffic.large >= options.largeDomains) evict(traffic, true, now);
      domain.enlarge();
      traffic.large++;
    }
    domain.turn(now);
    return domain;
  };

  /** Adds the query's new labels to the sums; whether there were any. */
  const addQuery = (domain: DomainTraffic, event: LookupEvent, at: number, hashed: number): boolean => {
    const { bytes, offset } = event;
    const weight = weightOf(event.type);
    const inArpa = isArpa(bytes, at);
    let labels = 0;
    for (let start = offset; start < at; start += bytes[start]! + 1) starts[labels++] = start - offset;
    let hash = hashed;
    let size = 0;
    let payload = 0;
    let hexadecimal = 0;
    let binary = false;
    let restSize = 0;
    let restPayload = 0;
    let restHexadecimal = 0;
    let isNew = false;
    for (let index = labels - 1; index >= 0; index--) {
      const start = offset + starts[index]! + 1;
      const length = bytes[start - 1]!;
      hash = hashBytes(bytes, start, start + length, hash);
      const single = labels - index <= PARTS;
      isNew = single || index === 0 ? domain.see(hash) : false;
      if (single && !isNew) continue;
      const data = inArpa && length <= 3 ? 0 : labelPayload(bytes, start, length);
      const digits = label.hexadecimal ? data : 0;
      binary ||= label.binary;
      if (single) {
        size += length;
        payload += data;
        hexadecimal += digits;
      } else {
        restSize += length;
        restPayload += data;
        restHexadecimal += digits;
      }
    }
    if (isNew) {
      size += restSize;
      payload += restPayload;
      hexadecimal += restHexadecimal;
    }
    domain.fast.addLookup(weight > 1);
    domain.slow.addLookup(weight > 1);
    if (!isNew) return false;
    domain.fast.addName(size, payload);
    domain.slow.addName(size, payload);
    domain.rank += payload;
    if (payload >= slow.nameBytes) domain.slow.count(payload, payload);
    const dense = payload - hexadecimal / 2;
    const long = binary || dense >= options.longName ? 2 : 1;
    if (dense >= fast.nameBytes) domain.fast.count(dense, dense * weight * long);
    return true;
  };

  /** Adds a large answer, of a type that carries data, to a name that was not answered so before. */
  const addAnswer = (domain: DomainTraffic, event: LookupEvent, at: number, hashed: number): boolean => {
    const weight = weightOf(event.type);
    const { bytes, offset } = event;
    // An answer repeats the name.
    const size = event.size - (at - offset) - options.smallAnswer;
    if (weight === 1 || size <= 0 || event.rcode !== 0) return false;
    // A tunnel's client asks on with short names, of a counter and noise; words are names of services and keys.
    const first = bytes[offset]!;
    if (first < POLL || chanceBits(bytes, offset + 1, first) <= POLL_BITS) return false;
    if (!domain.see(hashBytes(bytes, offset, at, hashed ^ ANSWER))) return false;
    domain.fast.add(SUM.ANSWERS_WEIGHED, size * weight * options.answerWeight);
    domain.fast.add(SUM.ANSWER_BYTES, event.size);
    domain.fast.add(SUM.COUNTING, 1);
    domain.slow.add(SUM.ANSWER_BYTES, event.size);
    domain.rank += size;
    return true;
  };

  const isBurst = ({ fast: window }: DomainTraffic): boolean => {
    if (window.of(SUM.COUNTING) < fast.names) return false;
    const dense = window.of(SUM.COUNTED) >= window.of(SUM.PAYLOAD) * fast.share;
    return (dense ? window.of(SUM.NAMES_WEIGHED) : 0) + window.of(SUM.ANSWERS_WEIGHED) >= fast.bytes;
  };

  const isDrip = ({ slow: window }: DomainTraffic): boolean =>
    window.of(SUM.COUNTING) >= slow.names &&
    window.of(SUM.NAMES_WEIGHED) >= slow.bytes &&
    window.of(SUM.COUNTED) >= window.of(SUM.PAYLOAD) * slow.share;

  return {
    observe(event, now) {
      const { bytes, offset } = event;
      const at = registrableAt(bytes, offset);
      if (at - offset <= SHORT) return undefined;
      const hash = hashBytes(bytes, at, endOf(bytes, at), seed);
      const traffic = trafficOf(event.container, now);
      const key = hash >>> 2;
      if (event.phase === "answer" && !traffic.domains.has(key)) return undefined;
      const domain = domainOf(traffic, key, now);
      const added =
        event.phase === "query" ? addQuery(domain, event, at, hash) : addAnswer(domain, event, at, hash);
      if (!added) return undefined;
      const burst = isBurst(domain);
      if (!burst && !isDrip(domain)) return undefined;
      const window = burst ? domain.fast : domain.slow;
      const total = window.of(SUM.BYTES) + window.of(SUM.ANSWER_BYTES);
      if (domain.until > now && total < domain.toldBytes * GROWTH) return undefined;
      const name = wireToName(bytes, at);
      if (options.allowed?.(name) === true) return undefined;
      if (domain.detection === null) traffic.told++;
      domain.detection = describe(window, burst ? fast.window : slow.window, name, event);
      domain.toldBytes = total;
      domain.until = now + options.hold;
      return domain.detection;
    },

    suspicious(event, now) {
      const traffic = containers.get(event.container);
      if (traffic === undefined || traffic.told === 0) return undefined;
      const { bytes, offset } = event;
      const at = registrableAt(bytes, offset);
      if (at < 0) return undefined;
      const domain = traffic.domains.get(hashBytes(bytes, at, endOf(bytes, at), seed) >>> 2);
      if (domain === undefined || domain.detection === null) return undefined;
      if (domain.until <= now || options.allowed?.(wireToName(bytes, at)) === true) {
        domain.detection = null;
        domain.until = 0;
        traffic.told--;
        return undefined;
      }
      domain.until = now + options.hold;
      return { ...domain.detection, dns: dnsOf(event) };
    },

    forget(container) {
      containers.delete(container);
    },

    get stats() {
      let domains = 0;
      let bytes = 0;
      for (const traffic of containers.values()) {
        domains += traffic.domains.size;
        bytes += 200;
        for (const domain of traffic.domains.values()) bytes += domain.bytes;
      }
      return { containers: containers.size, domains, bytes };
    },
  };
}

/** Offset of the root label of the whole name that has a label at `at`. */
function endOf(bytes: Uint8Array, at: number): number {
  let end = at;
  while (bytes[end] !== 0) end += bytes[end]! + 1;
  return end;
}

function isArpa(bytes: Uint8Array, at: number): boolean {
  const end = endOf(bytes, at);
  return (
    bytes[end - 5] === 4 &&
    bytes[end - 4] === 97 &&
    bytes[end - 3] === 114 &&
    bytes[end - 2] === 112 &&
    bytes[end - 1] === 97
  );
}

function dnsOf(event: LookupEvent): Detection["dns"] {
  return {
    name: wireToName(event.bytes, event.offset),
    type: recordType(event.type),
    answers: [],
    rcode: null,
  };
}

const number = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

function size(bytes: number): string {
  return bytes < 1000 ? `${Math.round(bytes)} bytes` : `${number.format(bytes / 1000)} kB`;
}

function describe(window: Window, width: number, domain: string, event: LookupEvent): Detection {
  const names = window.of(SUM.NAMES);
  const lookups = window.of(SUM.LOOKUPS);
  const time = width < HOUR ? `${Math.round(width / 60_000)} min` : `${Math.round(width / HOUR)} h`;
  const percent = (part: number): string => `${Math.round((100 * part) / Math.max(1, lookups))} %`;
  return {
    type: "dns",
    attackType: "suspiciousDNS",
    message: `${size(window.of(SUM.BYTES))} in ${number.format(names)} unique names under \`${domain}\` in ${time}, like data sent over DNS`,
    dns: dnsOf(event),
    connection: null,
    reasons: [
      {
        kind: "detection",
        subject: domain,
        message:
          `${percent(names)} of ${number.format(lookups)} lookups ask for a new name, ${percent(window.of(SUM.DATA_TYPES))} for types ` +
          `that carry data (the last for ${recordType(event.type)}), ${size(window.of(SUM.ANSWER_BYTES))} in large answers to them`,
      },
    ],
  };
}
