/** A day of lookups on a clock that only the test moves: data that drips away, and what honest programs ask all day long. */
import { existsSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import t from "tap";
import { createExfiltrationDetector } from "../../src/detect/exfiltration.ts";
import type { Detection } from "../../src/detect/types.ts";
import { nameToWire } from "../../src/name.ts";
import { randomFrom } from "./port-scan-traffic.ts";

const DATA = process.env.TIDESMAN_DATA ?? resolve(import.meta.dirname, "../../../shared/data");
const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const TYPE = { A: 1, TXT: 16 } as const;

const next = randomFrom(5);
const below = (limit: number): number => Math.floor(next() * limit);
const drawn = (alphabet: string, length: number): string =>
  Array.from({ length }, () => alphabet[below(alphabet.length)]).join("");
const LETTERS = "abcdefghijklmnopqrstuvwxyz";
const base32 = (length: number): string => drawn(`${LETTERS}234567`, length);
const base64 = (length: number): string => drawn(`${LETTERS}0123456789-_`, length);
const hex = (length: number): string => drawn("0123456789abcdef", length);
const labels = (count: number, each: () => string): string => Array.from({ length: count }, each).join(".");
const address = (): string => labels(4, () => String(below(256)));
const raw = (length: number, domain: string): Uint8Array =>
  Uint8Array.from([length, ...Array.from({ length }, () => 128 + below(128)), ...(nameToWire(domain) ?? [])]);

interface Asked {
  readonly name: string | Uint8Array;
  readonly type?: number;
  readonly size?: number;
  /** What the answer holds; left out: what no other answer does. */
  readonly content?: number;
}

function world() {
  const detector = createExfiltrationDetector({ seed: 1 });
  return (container: string, { name, type = TYPE.A, size = 90, content }: Asked, now: number) => {
    const bytes = typeof name === "string" ? nameToWire(name) : name;
    if (bytes === null) throw new Error(`${String(name)} is no name`);
    const query = { container, phase: "query", bytes, offset: 0, type, rcode: 0, size: 0 } as const;
    const asked = detector.observe(query, now);
    const answer = { ...query, phase: "answer", size, content: content ?? 1 + below(2 ** 31) } as const;
    return asked ?? detector.observe(answer, now);
  };
}

let counter = 0;
/** Bytes that a name carries, and the name. */
const DRIPS: Record<string, readonly [number, () => string | Uint8Array]> = {
  "base32, long": [60, () => `${base32(60)}.example.net`],
  "base32, a file's part": [30, () => `${base32(30)}.t.example.net`],
  "base32, short": [12, () => `${base32(12)}.example.net`],
  "base32, eight at a time": [8, () => `${base32(8)}.example.net`],
  base64: [40, () => `${base64(40)}.t.example.net`],
  "base64 in three short labels": [24, () => `${labels(3, () => base64(8))}.example.net`],
  "base32 in six shorter ones": [30, () => `${labels(6, () => base32(5))}.example.net`],
  letters: [20, () => `${drawn(LETTERS, 20)}.example.net`],
  "letters in three labels": [30, () => `${labels(3, () => drawn(LETTERS, 10))}.example.net`],
  hex: [32, () => `${hex(32)}.example.net`],
  "hex, eight at a time": [8, () => `${hex(8)}.example.net`],
  "like a UUID": [36, () => `${hex(8)}-${hex(4)}-${hex(4)}-${hex(4)}-${hex(12)}.example.net`],
  "8-bit": [40, () => raw(40, "t.example.net")],
  "8-bit, ten at a time": [10, () => raw(10, "t.example.net")],
  "counted, in one label": [20, () => `${String(++counter).padStart(6, "0")}-${base32(20)}.f.example.net`],
  "counted, in two": [20, () => `${++counter}.${base32(20)}.f.example.net`],
  "behind a word": [20, () => `data-${base32(20)}.f.example.net`],
  "at a dynamic name": [20, () => `${base32(20)}.evil.duckdns.org`],
  "below a suffix of two labels": [20, () => `${base32(20)}.evil.co.uk`],
};

t.test("a kilobyte an hour is found within a day", async (t) => {
  for (const [what, [bytes, name]] of Object.entries(DRIPS)) {
    for (const type of [TYPE.A, TYPE.TXT]) {
      const ask = world();
      // The window turns every twelve hours: a drip may begin at any time of it.
      const began = below(12) * HOUR;
      ask("web", { name: "www.example.net" }, 0);
      let now = began;
      let found: Detection | undefined;
      while (found === undefined && now - began < DAY) {
        now += (HOUR * bytes) / 1000;
        found = ask("web", { name: name(), type }, now);
        ask("web", { name: "www.example.com" }, now);
      }
      t.match(
        found?.message,
        /in 24 h, like data sent over DNS/,
        `${what}, ${((now - began) / HOUR).toFixed(1)} h`,
      );
    }
  }
});

/** What is asked for so often a day. */
const HONEST: Record<string, readonly [number, (index: number) => Asked]> = {
  buckets: [3000, () => ({ name: `${hex(32)}.s3.amazonaws.com` })],
  "buckets of a region": [3000, () => ({ name: `${base32(24)}.s3.eu-west-1.amazonaws.com` })],
  distributions: [3000, () => ({ name: `d${base32(13)}.cloudfront.net` })],
  edges: [3000, (index) => ({ name: `e${index}.dsc${LETTERS[index % 7]}.akamaiedge.net` })],
  videos: [600, (index) => ({ name: `rr${index % 6}---sn-${base32(8)}.googlevideo.com` })],
  "frames of advertisements": [300, () => ({ name: `${hex(32)}.safeframe.googlesyndication.com` })],
  "telemetry with short identifiers": [1000, () => ({ name: `${hex(8)}.telemetry.example.net` })],
  balancers: [300, () => ({ name: `internal-${hex(32)}-${below(1e9)}.us-east-1.elb.amazonaws.com` })],
  "block list": [10_000, () => ({ name: `${address()}.zen.spamhaus.org` })],
  "block list, why": [
    3000,
    () => ({ name: `${address()}.zen.spamhaus.org`, type: TYPE.TXT, size: 190, content: 7 }),
  ],
  "block list, IPv6": [3000, () => ({ name: `${[...hex(32)].join(".")}.zen.spamhaus.org` })],
  reverse: [10_000, () => ({ name: `${address()}.in-addr.arpa` })],
  "digests at a virus scanner": [
    400,
    () => ({ name: `${hex(32)}.malware.hash.example.org`, type: TYPE.TXT }),
  ],
  "keys of senders": [
    3000,
    (index) => ({ name: `${base32(10)}._domainkey.sender${index}.com`, type: TYPE.TXT, size: 480 }),
  ],
  "policies of senders": [
    3000,
    (index) => ({
      name: index % 2 === 0 ? `_dmarc.sender${index}.com` : `sender${index}.com`,
      type: TYPE.TXT,
      size: 300,
    }),
  ],
  "policies of senders below a wildcard": [
    1000,
    () => ({ name: `${base32(9)}.mail.example.com`, type: TYPE.TXT, size: 300, content: 9 }),
  ],
  "proofs for certificates": [
    2000,
    (index) => ({ name: `_acme-challenge.host${index}.shop${index % 500}.com`, type: TYPE.TXT, size: 220 }),
  ],
  pods: [5000, () => ({ name: `10-1-${below(256)}-${below(256)}.prod.pod.cluster.local` })],
  services: [5000, (index) => ({ name: `orders-${index % 500}.prod.svc.cluster.local` })],
};

t.test("a day of honest programs, each alone and all of them at once", async (t) => {
  const ask = world();
  const asked: (Asked & { readonly time: number; readonly container: string })[] = [];
  const add = (container: string, count: number, name: (index: number) => Asked): void => {
    for (let index = 0; index < count; index++)
      asked.push({ ...name(index), container, time: ((index + next()) * DAY) / count });
  };
  for (const [what, [count, name]] of Object.entries(HONEST)) {
    add(what, count, name);
    add("all", count, name);
  }
  const popular = `${DATA}/popular-names-20k.txt`;
  if (existsSync(popular)) {
    const names = readFileSync(popular, "utf8")
      .split("\n")
      .filter((name) => nameToWire(name) !== null && name !== "");
    const order = names.map((name) => [next(), name] as const).sort(([a], [b]) => a - b);
    const name = (index: number): string => order[index]?.[1] ?? "";
    add("all", names.length, (index) => ({ name: name(index) }));
    // Whose names all have the same sender policy, domain by domain.
    const type = TYPE.TXT;
    add("popular, TXT", names.length, (index) => {
      const content = name(index).split(".").slice(-2).join(".").length;
      return { name: name(index), type, size: 300, content };
    });
  } else t.comment("the shared data is not here: without popular names");
  asked.sort((a, b) => a.time - b.time);
  const told = asked.flatMap(({ container, time, ...one }) => {
    const found = ask(container, one, time);
    return found === undefined ? [] : [`${container}: ${found.message}`];
  });
  t.strictSame(told, []);
  t.ok(asked.length > 100_000);
});
