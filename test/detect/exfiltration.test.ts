import { existsSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import fc from "fast-check";
import t from "tap";
import { createExfiltrationDetector } from "../../src/detect/exfiltration.ts";
import { EXFILTRATION_DEFAULTS } from "../../src/detect/exfiltration-options.ts";
import { registrableAt } from "../../src/detect/registrable.ts";
import type { Detection, LookupEvent } from "../../src/detect/types.ts";
import { nameToWire } from "../../src/name.ts";
import { readCapture } from "./tunnel-capture.ts";

const DATA = process.env.TIDESMAN_DATA ?? resolve(import.meta.dirname, "../../../shared/data");
const skip = existsSync(`${DATA}/pcap`) ? false : "the shared data is not here";
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const TYPE = { A: 1, CNAME: 5, NULL: 10, MX: 15, TXT: 16, AAAA: 28, SRV: 33, PRIVATE: 65_399 } as const;

/** Numbers that look drawn, the same in every run. */
function random(seed: number): () => number {
  let state = seed | 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}
const draw = random(11);
const drawn = (alphabet: string, length: number): string =>
  Array.from({ length }, () => alphabet[Math.floor(draw() * alphabet.length)]).join("");
const base32 = (length: number): string => drawn("abcdefghijklmnopqrstuvwxyz234567", length);
const hex = (length: number): string => drawn("0123456789abcdef", length);

/** A container's lookups, each with its answer; says what was told. */
function world(options = {}) {
  const detector = createExfiltrationDetector(options);
  let now = 0;
  const event = (name: string | Uint8Array, type: number, container = "web"): LookupEvent => {
    const bytes = typeof name === "string" ? nameToWire(name)! : name;
    return { container, phase: "query", bytes, offset: 0, type, rcode: 0, size: 0 };
  };
  const ask = (
    name: string | Uint8Array,
    {
      type = TYPE.A as number,
      rcode = 0,
      size = 90,
      gap = 10,
      container = "web",
      content = 0,
      carried = 0,
    } = {},
  ): Detection | undefined => {
    now += gap;
    const lookup = event(name, type, container);
    const asked = detector.observe(lookup, now);
    const answer = { ...lookup, phase: "answer", rcode, size, content, carried } as const;
    const answered = detector.observe(answer, now);
    return asked ?? answered;
  };
  const suspicious = (name: string, container = "web") =>
    detector.suspicious(event(name, TYPE.A, container), now);
  const wait = (time: number): void => {
    now += time;
  };
  return { detector, ask, suspicious, wait, time: () => now };
}

t.test(
  "real tunnels are found within a minute of their first kilobyte, and before ten",
  { skip },
  async (t) => {
    for (const tunnel of ["iodine_null", "iodine_txt", "dns2tcp_txt", "dns2tcp_key"]) {
      const detector = createExfiltrationDetector();
      let bytes = 0;
      let kilobyte: number | undefined;
      let found: { detection: Detection; time: number } | undefined;
      let prevented = 0;
      for (const { time, event } of readCapture(`${DATA}/pcap/gen_${tunnel}.pcap`)) {
        if (found === undefined && event.phase === "query") bytes += registrableAt(event.bytes, 0);
        if (bytes >= 1000) kilobyte ??= time;
        const detection = detector.observe(event, time);
        if (detection !== undefined) found ??= { detection, time };
        if (found === undefined) continue;
        if (event.phase === "query") t.ok(detector.suspicious(event, time), "and each further lookup is one");
        prevented++;
      }
      t.ok(found, tunnel);
      t.ok(
        (found?.time ?? 0) - (kilobyte ?? found?.time ?? 0) < MINUTE,
        `${tunnel}: ${found?.time} ${kilobyte}`,
      );
      t.ok(bytes < 10_000, `${tunnel}: ${bytes} bytes passed`);
      t.ok(prevented > 10);
      t.match(found?.detection.message, /kB|bytes in \d+ unique names under `exfil-test\.example` in 10 min/);
    }
  },
);

t.test("encodings and record types of tunnels, and the bytes that pass before they are found", async (t) => {
  const names = {
    base32: () => `0${base32(60)}.${base32(60)}.${base32(60)}.t.example.net`,
    hex: () => `${hex(60)}.${hex(60)}.t.example.net`,
    short: () => `${base32(30)}.example.net`,
    raw: () =>
      Uint8Array.from([
        40,
        ...Array.from({ length: 40 }, () => 128 + Math.floor(draw() * 128)),
        ...nameToWire("t.example.net")!,
      ]),
  };
  for (const [encoding, name] of Object.entries(names)) {
    for (const [type, number] of Object.entries(TYPE)) {
      const { ask } = world();
      let bytes = 0;
      for (let index = 0; index < 1000; index++) {
        const asked = name();
        bytes += typeof asked === "string" ? asked.length - 12 : asked.length - 13;
        if (ask(asked, { type: number }) !== undefined) break;
      }
      t.ok(bytes < 10_000, `${encoding}, ${type}: ${bytes}`);
    }
  }
});

t.test("what comes in is found by large answers to new names", async (t) => {
  for (const type of [TYPE.NULL, TYPE.TXT]) {
    const { ask } = world();
    let count = 0;
    while (count < 200 && ask(`p${base32(8)}.t.example.net`, { type, size: 500 }) === undefined) count++;
    t.ok(count < 60, `${count}`);
  }
});

t.test("what comes in as the target of aliases, which need not exist, is found too", async (t) => {
  const { ask } = world();
  let count = 0;
  while (
    count < 200 &&
    ask(`p${base32(8)}.t.example.net`, { rcode: 3, size: 300, carried: 220 }) === undefined
  )
    count++;
  t.ok(count < 30, `${count}`);
  const short = world();
  for (let index = 0; index < 500; index++)
    t.equal(short.ask(`${base32(8)}.shop.example.net`, { size: 300, carried: 40 }), undefined);
});

t.test("one answer to many names carries nothing", async (t) => {
  const { ask } = world();
  for (let index = 0; index < 300; index++)
    t.equal(ask(`p${base32(8)}.t.example.net`, { type: TYPE.TXT, size: 500, content: 7 }), undefined);
});

t.test("it says what it found, once, and then answers for every lookup until an hour of rest", async (t) => {
  const { ask, suspicious, wait } = world();
  const told = Array.from({ length: 60 }, () =>
    ask(`${base32(60)}.${base32(60)}.t.example.net`, { type: TYPE.TXT }),
  );
  const [first, second] = told.filter((detection) => detection !== undefined);
  t.match(first, { type: "dns", attackType: "suspiciousDNS", dns: { type: "TXT", rcode: null } });
  t.match(first?.message, /^2\.\d kB in \d\d unique names under `example\.net` in 10 min/);
  t.match(
    first?.reasons[0]?.message,
    /^100 % of \d\d lookups ask for a new name, 100 % for types that carry data/,
  );
  t.equal(second, undefined);
  t.equal(suspicious("www.example.net")?.message, first?.message);
  t.equal(suspicious("www.example.net")?.dns?.name, "www.example.net");
  t.equal(suspicious("www.example.org"), undefined);
  t.equal(suspicious("www.example.net", "other"), undefined);
  wait(HOUR - 1);
  t.ok(suspicious("www.example.net"), "the hour begins again with every lookup");
  wait(HOUR - 1);
  t.ok(suspicious("www.example.net"));
  wait(HOUR + 1);
  t.equal(suspicious("www.example.net"), undefined);
});

t.test("a drip of a kilobyte an hour is found within a day, beside other traffic", async (t) => {
  for (const [what, name, each] of [
    ["base32", () => `${base32(30)}.example.net`, 30],
    ["hex", () => `${hex(32)}.example.net`, 32],
    ["short", () => `${base32(16)}.example.net`, 16],
  ] as const) {
    const { ask, time } = world();
    let found: Detection | undefined;
    while (found === undefined && time() < 24 * HOUR) {
      found = ask(name(), { gap: (HOUR * each) / 1000 });
      for (const site of ["www.example.com", "api.eu.example.org"]) ask(site);
    }
    t.ok(found, `${what}: ${time() / HOUR} h`);
    t.match(found?.message, /in 24 h/);
  }
});

t.test("popular names, in any order, fast or slow, thrice, also with a search list", { skip }, async (t) => {
  const names = readFileSync(`${DATA}/popular-names-20k.txt`, "utf8").split("\n");
  const wires = (suffix: string) =>
    names.map((name) => nameToWire(name + suffix)).filter((wire) => wire !== null);
  const plain = wires("");
  const shuffled = [...plain];
  for (let index = shuffled.length; index > 1; index--) {
    const other = Math.floor(draw() * index);
    [shuffled[index - 1], shuffled[other]] = [shuffled[other]!, shuffled[index - 1]!];
  }
  const searched = [".ns.svc.cluster.local", ".svc.cluster.local", ".cluster.local"].flatMap(wires);
  for (const [order, list] of Object.entries({ plain, shuffled, backward: plain.toReversed(), searched })) {
    for (const gap of [1, 4000]) {
      const { ask } = world();
      const found = [...list, ...list, ...list].flatMap(
        (name, index) => ask(name, { gap, type: index % 2 ? 28 : 1 }) ?? [],
      );
      t.strictSame(found, [], `${order}, ${gap} ms`);
    }
  }
});

t.test("what looks like a tunnel and is none", async (t) => {
  const kinds: Record<string, [number, (index: number) => string]> = {
    "hashes at content networks": [3000, () => `d${base32(13)}.cloudfront.net`],
    "content network's edges": [3000, (index) => `e${index}.dsc${"abcdefg"[index % 7]}.akamaiedge.net`],
    "buckets and accounts": [3000, () => `${hex(32)}.s3.amazonaws.com`],
    storage: [3000, () => `${base32(20)}.blob.core.windows.net`],
    "telemetry with short identifiers": [1000, () => `${hex(8)}.telemetry.example.com`],
    reverse: [
      5000,
      () => `${Array.from({ length: 4 }, () => Math.floor(draw() * 256)).join(".")}.in-addr.arpa`,
    ],
    "reverse, IPv6": [5000, () => `${[...hex(32)].join(".")}.ip6.arpa`],
    "block list": [
      5000,
      () => `${Array.from({ length: 4 }, () => Math.floor(draw() * 256)).join(".")}.zen.spamhaus.org`,
    ],
    "block list, IPv6": [3000, () => `${[...hex(32)].join(".")}.zen.spamhaus.org`],
    "digests at a virus scanner": [300, () => `${hex(32)}.malware.hash.example.org`],
    "SHA-1 digests": [250, () => `${hex(40)}.hash.example.org`],
    services: [2000, (index) => `_ldap._tcp.site${index}._sites.dc._msdcs.corp.example.com`],
    "service discovery": [2000, (index) => `orders-${index % 500}.prod.svc.cluster.local`],
    pods: [2000, (index) => `10-1-${index >> 8}-${index & 255}.prod.pod.cluster.local`],
  };
  for (const [what, [count, name]] of Object.entries(kinds)) {
    for (const type of [TYPE.A, TYPE.TXT, TYPE.SRV]) {
      const { ask } = world();
      const found = Array.from({ length: count }, (_, index) =>
        ask(name(index), { type, size: 140, gap: 100 }),
      );
      t.strictSame(
        found.filter((detection) => detection !== undefined),
        [],
        `${what}, type ${type}`,
      );
    }
  }
});

t.test("the same names again and again carry nothing", async (t) => {
  const { ask } = world();
  const names = Array.from({ length: 30 }, () => `${base32(50)}.example.net`);
  for (let index = 0; index < 10_000; index++)
    t.equal(ask(names[index % 30]!, { type: TYPE.TXT }), undefined);
});

t.test("noise under other domains does not push a tunnel out of sight", async (t) => {
  const { ask } = world();
  let bytes = 0;
  for (let index = 0; index < 500; index++) {
    for (let noise = 0; noise < 20; noise++) ask(`${base32(20)}.n${base32(8)}.com`);
    bytes += 120;
    if (ask(`${base32(60)}.${base32(60)}.example.net`) !== undefined) break;
  }
  t.ok(bytes < 10_000, `${bytes}`);
});

t.test("allowed names and all below them are not told, their neighbours are", async (t) => {
  const { ask, suspicious, detector } = world({ allowed: ["hash.example.net", "example.org", "lan"] });
  const bulk = (below: string): boolean =>
    Array.from({ length: 200 }, () => ask(`${base32(60)}.${below}`, { type: TYPE.TXT })).some(
      (detection) => detection !== undefined,
    );
  for (const below of [
    "hash.example.net",
    "eu.hash.example.net",
    "example.org",
    "x.example.org",
    "files.lan",
  ])
    t.notOk(bulk(below), below);
  t.equal(detector.stats.domains, 0, "nor do they take room");
  for (const below of ["example.net", "xhash.example.net", "xexample.org", "example.com", "lan.example"])
    t.ok(bulk(below), below);
  t.ok(suspicious("www.example.net"));
  t.equal(suspicious("www.hash.example.net"), undefined, "also while the domain above is suspicious");
});

t.test("figures are options: a small burst, a short drip, a short hold", async (t) => {
  const { burst, drip } = EXFILTRATION_DEFAULTS;
  const passed = (options: object, name: () => string, gap = 10): number => {
    const { ask } = world(options);
    let bytes = 0;
    while (bytes < 100_000 && ask(name(), { gap }) === undefined) bytes += 30;
    return bytes;
  };
  const short = () => `${base32(30)}.example.net`;
  const usual = passed({}, short);
  t.ok(passed({ burst: { ...burst, bytes: 1024 } }, short) < usual / 4);
  t.ok(passed({ burst: { ...burst, names: 1000 }, drip: { ...drip, bytes: 1e9 } }, short) > usual * 3);
  const apart = drip.window / 40;
  t.ok(passed({}, short, apart) > 90_000, "too slow to be seen");
  t.ok(passed({ drip: { ...drip, window: 40 * drip.window } }, short, apart) < 20_000);
  const { ask, suspicious, wait } = world({ hold: MINUTE });
  for (let index = 0; index < 100; index++) ask(`${base32(60)}.example.net`);
  t.ok(suspicious("www.example.net"));
  wait(2 * MINUTE);
  t.equal(suspicious("www.example.net"), undefined);
});

t.test("a container that is gone is forgotten", async (t) => {
  const { ask, detector, suspicious } = world();
  for (let index = 0; index < 100; index++) ask(`${base32(60)}.example.net`);
  t.ok(suspicious("www.example.net"));
  detector.forget("web");
  t.equal(suspicious("www.example.net"), undefined);
  t.same(detector.stats, { containers: 0, domains: 0, bytes: 0 });
});

t.test("any bytes are taken", async (t) => {
  const detector = createExfiltrationDetector({ domains: 4, largeDomains: 2, containers: 3 });
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 300 }),
      fc.nat(4),
      fc.nat(10),
      fc.constantFrom("query" as const, "answer" as const),
      fc.nat(65_535),
      (bytes, offset, container, phase, type) => {
        const event = { container: `${container}`, phase, bytes, offset, type, rcode: 0, size: 600 };
        detector.observe(event, 0);
        detector.suspicious(event, 0);
      },
    ),
  );
  const longest = Uint8Array.from([...Array.from({ length: 127 }, () => [1, 97]).flat(), 0]);
  for (const bytes of [longest, Uint8Array.of(0), Uint8Array.of(), Uint8Array.of(3, 97)]) {
    const event = { container: "c", phase: "query", bytes, offset: 0, type: 1, rcode: 0, size: 0 } as const;
    t.equal(detector.observe(event, 0), undefined);
  }
});

t.test("memory is bounded: a thousand containers, a million names", async (t) => {
  const detector = createExfiltrationDetector();
  const bytes = nameToWire(`${"a".repeat(30)}.${"b".repeat(8)}.com`)!;
  for (let index = 0; index < 1_000_000; index++) {
    for (let at = 1; at <= 30; at++) bytes[at] = 97 + Math.floor(draw() * 26);
    // A few domains with many names, and many with few.
    const domain = index % 2 === 0 ? (index >> 1) % 20 : index;
    for (let at = 0; at < 8; at++) bytes[32 + at] = 97 + ((domain >> (at * 4)) & 15);
    detector.observe(
      { container: `${index % 1000}`, phase: "query", bytes, offset: 0, type: 1, rcode: 0, size: 0 },
      index,
    );
  }
  const { containers, domains, bytes: used } = detector.stats;
  t.equal(containers, 1000);
  t.ok(domains <= 1000 * EXFILTRATION_DEFAULTS.domains);
  t.ok(used <= 1000 * 110_000, `${used}`);
});
