import { existsSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import fc from "fast-check";
import t from "tap";
import { measureFamilies } from "../../scripts/detections/generated-names.ts";
import { createGeneratedNamesDetector } from "../../src/detect/generated-names.ts";
import { GENERATED_NAMES_DEFAULTS } from "../../src/detect/generated-names-options.ts";
import type { Detection } from "../../src/detect/types.ts";
import { nameToWire } from "../../src/name.ts";

const DATA = process.env.TIDESMAN_DATA ?? resolve(import.meta.dirname, "../../../shared/data");
const skip = existsSync(`${DATA}/dga`) ? false : "the shared data is not here";
const MINUTE = 60_000;

/** A container's lookups: `fail` says rcode 3, `pass` 0; one a second. */
function world(options = {}) {
  const detector = createGeneratedNamesDetector(options);
  let now = 0;
  const ask = (name: string, rcode: number, container = "web", gap = 1000): Detection | undefined => {
    now += gap;
    const bytes = nameToWire(name)!;
    return detector.observe({ container, phase: "answer", bytes, offset: 0, type: 1, rcode, size: 100 }, now);
  };
  const wait = (time: number): void => {
    now += time;
  };
  return { detector, ask, wait };
}

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

const next = random(7);
const chance = (length: number): string =>
  Array.from({ length }, () => String.fromCharCode(97 + Math.floor(next() * 26))).join("");
const WORDS = "apple river garden stone window purple market silver winter bridge button letter".split(" ");
const words = (index: number): string =>
  `${WORDS[index % WORDS.length]}${WORDS[Math.floor(index / WORDS.length) % WORDS.length]}`;

t.test("names that look like chance are told after eight failures, once, with the reason", async (t) => {
  const { ask } = world();
  const told: Detection[] = [];
  for (let index = 0; index < 40; index++) {
    const found = ask(`${chance(14)}.com`, 3);
    if (index === 5) t.equal(told.length, 0, "never on few");
    if (found !== undefined) told.push(found);
    if (index === 10) t.equal(told.length, 1);
  }
  t.equal(told.length, 1, "and then only when it has grown tenfold");
  const [first] = told;
  t.equal(first?.attackType, "suspiciousDNS");
  t.match(first?.message, /^\d+ of \d+ domains asked for the first time in \d+ s do not exist/);
  t.match(first?.reasons[0]?.message, /look like chance, among the last: `[a-z]{14}\.com`, /);
  t.match(first?.dns, { type: "A", rcode: "NXDOMAIN" });
});

t.test("words strung together are told later", async (t) => {
  const { ask } = world();
  let failed = 0;
  while (failed < 144 && ask(`${words(failed)}.net`, 3) === undefined) failed++;
  t.ok(failed > 15 && failed < 60, `${failed}`);
});

t.test("told again after a rest", async (t) => {
  const { ask, wait } = world();
  const burst = () => Array.from({ length: 20 }, () => ask(`${chance(14)}.com`, 3)).filter(Boolean).length;
  t.equal(burst(), 1);
  t.equal(burst(), 0);
  wait(GENERATED_NAMES_DEFAULTS.rest + MINUTE);
  t.equal(burst(), 1);
});

t.test("no burst, no alarm", async (t) => {
  const { ask, wait } = world();
  for (let index = 0; index < 200; index++) {
    t.equal(ask(`${chance(14)}.com`, 3), undefined);
    wait(90 * MINUTE);
  }
});

t.test("what fails below one domain counts once: a search list, missing hosts", async (t) => {
  const { ask } = world();
  for (let index = 0; index < 500; index++) {
    t.equal(ask(`${chance(12)}.com.prod.svc.cluster.local`, 3), undefined);
    t.equal(ask(`${chance(12)}.example.com`, 3), undefined);
    t.equal(ask(`_sip._tcp.${chance(12)}.corp.example.net`, 3), undefined);
  }
});

t.test("addresses without a name, single labels and other failures say nothing", async (t) => {
  const { ask } = world();
  for (let index = 0; index < 250; index++) {
    t.equal(ask(`1.2.3.${index}.in-addr.arpa`, 3), undefined);
    t.equal(ask(`4.3.2.${index}.zen.spamhaus.org`, 3), undefined);
    t.equal(ask(chance(9), 3), undefined);
    t.equal(ask(`${chance(14)}.com`, 2), undefined, "SERVFAIL: the network, not the name");
  }
});

t.test("allowed domains, another container, a container that is gone", async (t) => {
  const allowed = world({ allowed: ["test", "corp.example.com"] });
  for (const below of ["test", "corp.example.com"])
    for (let index = 0; index < 50; index++) t.equal(allowed.ask(`${chance(14)}.${below}`, 3), undefined);
  const others = Array.from({ length: 50 }, () => allowed.ask(`${chance(14)}.atest`, 3));
  t.ok(others.some((detection) => detection !== undefined));
  const { ask, detector } = world();
  for (let index = 0; index < 60; index++) t.equal(ask(`${chance(14)}.com`, 3, `c${index % 10}`), undefined);
  detector.forget("c1");
  t.equal(detector.stats.containers, 9);
});

t.test("popular names of which three in ten fail, in any order and speed, thrice", { skip }, async (t) => {
  for (const [seed, file] of ["popular-10k.txt", "popular-names-20k.txt"].entries()) {
    const names = readFileSync(`${DATA}/${file}`, "utf8").split("\n").filter(Boolean);
    for (const rate of [0.05, 0.1, 0.3]) {
      for (const gap of [1, 3000]) {
        const draw = random(seed * 100 + gap + rate * 1000);
        const order =
          gap === 1
            ? names
            : names
                .map((name) => [draw(), name] as const)
                .sort((a, b) => a[0] - b[0])
                .map(([, name]) => name);
        const { ask } = world();
        const told = [...order, ...order, ...order].filter(
          (name) => nameToWire(name) !== null && ask(name, draw() < rate ? 3 : 0, "c", gap) !== undefined,
        );
        t.strictSame(told, [], `${file}, ${rate}, a name in ${gap} ms`);
      }
    }
  }
});

t.test("families of malware", { skip }, async (t) => {
  for (const { family, names, found, most } of measureFamilies(`${DATA}/dga`)) {
    if (names < 40 && found === 0) continue;
    t.equal(found, 1, family);
    t.ok(most !== null && most <= 40, `${family}: ${most}`);
  }
});

t.test("any bytes are taken, and memory is bounded", async (t) => {
  const detector = createGeneratedNamesDetector({ containers: 50, domains: 64 });
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(4), fc.nat(100), (bytes, offset, container) => {
      const event = {
        container: `${container}`,
        phase: "answer",
        bytes,
        offset,
        type: 1,
        rcode: 3,
        size: 0,
      } as const;
      detector.observe(event, 0);
    }),
  );
  const draw = random(3);
  for (let index = 0; index < 20_000; index++) {
    const bytes = nameToWire(`x${index}${chance(Math.floor(draw() * 40))}.com`)!;
    detector.observe(
      { container: `${index % 200}`, phase: "answer", bytes, offset: 0, type: 1, rcode: 3, size: 0 },
      index,
    );
  }
  t.ok(detector.stats.containers <= 50);
  t.ok(detector.stats.bytes <= 50 * (4 * 64 + 600), `${detector.stats.bytes}`);
});
