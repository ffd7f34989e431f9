/** The two ways of making a domain set against each other, on what no parser hands out too. */
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import fc from "fast-check";
import t from "tap";
import { TidesmanError } from "../../src/errors.ts";
import { compileDomains, fastestBuild, nativeBuild } from "../../src/feed/compile-domains.ts";
import { makeDomainParts } from "../../src/feed/domain-parts.ts";
import { parseDomains } from "../../src/feed/parse.ts";
import { BUILDS } from "./builds.ts";

const DATA = process.env.TIDESMAN_DATA ?? resolve(import.meta.dirname, "../../../shared/data");
const REAL = join(DATA, "malicious-domains-1.16m.txt.xz");
const withData = existsSync(REAL) ? {} : { skip: `no real data: ${REAL} does not exist` };
const withBoth = BUILDS.length > 1 ? {} : { skip: "the addon was not built" };
const ADDON = new URL("../../src/native/tidesman.node", import.meta.url).pathname;
const KEY = [0x04030201, 0x08070605] as const;

type Lists = readonly Uint8Array[];

/** What each build makes of the lists: the bytes, or the code of the error. */
function outcomes(lists: Lists, key: readonly [number, number]): (Buffer | string)[] {
  return BUILDS.map((build) => {
    try {
      return Buffer.from(compileDomains(lists, key, build));
    } catch (error) {
      if (error instanceof TidesmanError) return `${error.code}: ${error.message}`;
      throw error;
    }
  });
}

/** The one outcome of all builds; throws when they differ. */
function outcome(lists: Lists, key: readonly [number, number] = KEY): Buffer | string {
  const [first, ...others] = outcomes(lists, key);
  for (const other of others) {
    const same =
      typeof first === "string" || typeof other === "string"
        ? first === other
        : Buffer.compare(first!, other!) === 0;
    if (!same) throw new Error(`${first!.length} and ${other!.length} bytes or characters differ`);
  }
  return first!;
}

function list(...lines: string[]): Uint8Array {
  return Buffer.from(lines.map((line) => `${line}\n`).join(""));
}

const label = fc.oneof(
  fc.stringMatching(/^[ab]{1,2}$/),
  fc.stringMatching(/^[a-z0-9_-]{1,63}$/),
  fc.constantFrom("com", "example", "z".repeat(63), "-", "_", "0"),
);
const line = fc
  .tuple(fc.constantFrom("", "."), fc.array(label, { minLength: 2, maxLength: 6 }))
  .map(([dot, labels]) => {
    const name = labels.join(".");
    return `${dot}${name.length > 253 ? "too.long" : name}\n`;
  });
const lists = fc.array(
  fc.tuple(fc.array(line, { maxLength: 60 }), fc.integer({ min: 1, max: 3 })).map(([lines, times]) => {
    return Buffer.from(lines.join("").repeat(times));
  }),
  { maxLength: 8 },
);
const word = fc.integer({ min: 0, max: 0xffffffff });

t.test("lists of names make the same bytes", withBoth, async () => {
  fc.assert(
    fc.property(lists, word, word, (lists, key0, key1) => {
      const made = outcome(lists, [key0, key1]);
      if (typeof made === "string") throw new Error(made);
    }),
    { numRuns: 400 },
  );
});

t.test("lists with other bytes in them are refused alike", withBoth, async (t) => {
  const refusals = new Set<string>();
  fc.assert(
    fc.property(
      lists,
      fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 }),
      fc.nat(3),
      (lists, changes, cut) => {
        const last = lists.at(-1);
        if (last === undefined || last.length === 0) return;
        for (const [place, byte] of changes) last[place % last.length] = byte;
        const made = outcome([...lists.slice(0, -1), last.subarray(0, last.length - cut)]);
        if (typeof made === "string") refusals.add(made);
      },
    ),
    { numRuns: 400 },
  );
  t.strictSame([...refusals], ["TM_INTERNAL: a list to be compiled holds what is no name in stored form"]);
});

t.test("what is no name in stored form", async (t) => {
  const longest = `${"a".repeat(63)}.${"b".repeat(63)}.${"c".repeat(63)}.${"d".repeat(61)}`;
  t.equal(longest.length, 253);
  t.type(outcome([list(longest, `.${longest}`)]), Buffer);
  t.type(outcome([list(`${"a.".repeat(126)}a`)]), Buffer);
  for (const [why, bytes] of Object.entries({
    "a name of 254 bytes": list(`${longest}d`),
    "a label of 64 bytes": list(`${"a".repeat(64)}.b`),
    "a last label of 64 bytes": list(`b.${"a".repeat(64)}`),
    "one label": list("a"),
    nothing: list(""),
    "a dot": list("."),
    "two dots": list(".."),
    "an empty label": list("a..b"),
    "an empty label before all": list("..a.b"),
    "a dot behind all": list("a.b."),
    "ten thousand dots": Buffer.from(".".repeat(10_000)),
    "no line feed": Buffer.from("a.b"),
    "no line feed behind the last": Buffer.from("a.b\nc.d"),
    "a large letter": list("a.B"),
    "a zero byte": Buffer.from("a.b\0\n"),
    "a byte over 127": Buffer.from([97, 46, 200, 10]),
    "CR LF": Buffer.from("a.b\r\n"),
    "megabytes without a line feed": Buffer.alloc(10_000_000, "a"),
  })) {
    t.equal(
      outcome([list("a.b"), bytes]),
      "TM_INTERNAL: a list to be compiled holds what is no name in stored form",
      why,
    );
  }
});

t.test("more feeds than a name's record can tell", async (t) => {
  const lists = new Array<Uint8Array>(2 ** 19).fill(new Uint8Array());
  t.match(outcome(lists), /^TM_FEED: the feeds list more names/);
  t.type(outcome(lists.slice(1)), Buffer);
});

t.test("many groups, of which some are found together only", async (t) => {
  const lists = Array.from({ length: 11 }, (_, bit) => {
    const lines = Array.from(
      { length: 2048 },
      (_, number) => `${bit % 3 === 0 ? "." : ""}n${number}.example`,
    );
    return list(...lines.filter((_, number) => (number >> bit) % 2 === 1));
  });
  // Listed twice by one feed: with all below it, and not.
  lists.push(list("n5.example", ".n5.example", "n6.example"), list(".n5.example", "n5.example"));
  t.type(outcome(lists), Buffer);
});

t.test("many names, sorted and not", withBoth, async (t) => {
  const names = Array.from({ length: 60_000 }, (_, index) => {
    return `.${Math.imul(index, 0x9e3779b1).toString(36)}.h${index % 700}.example`;
  });
  t.type(outcome([list(...names), list(...names.slice(0, 1000).reverse())]), Buffer);
  t.type(outcome([list(...names.sort())]), Buffer);
});

t.test("the real list", { ...withBoth, ...withData }, async (t) => {
  const body = execFileSync("xz", ["-dc", REAL], { maxBuffer: 1 << 30 });
  const half = body.indexOf(10, body.length / 2) + 1;
  const whole = parseDomains(body, "suffix").entries;
  t.type(outcome([whole, parseDomains(body.subarray(half), "exact").entries]), Buffer);
});

t.test("where the addon is not built, and only there, it goes without", async (t) => {
  t.equal(fastestBuild(["/nonexistent/tidesman.node"]), makeDomainParts);
  t.throws(() => nativeBuild(["/nonexistent/tidesman.node"]), { code: "TM_NATIVE_MISSING" });
  if (existsSync(ADDON)) t.not(fastestBuild(), makeDomainParts);
});

t.test("wrong arguments", withBoth, async (t) => {
  const build = nativeBuild() as (...values: unknown[]) => unknown;
  for (const lists of [null, {}, [1], [new Uint16Array(2)], [Buffer.from("a.b\n"), null]]) {
    t.throws(() => build(lists, KEY), TypeError);
  }
  t.throws(() => build([], ["1", 2]), TypeError);
  t.throws(() => build([], [-1, 2]), TypeError);
});
