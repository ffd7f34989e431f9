/** The walk in C++ against the one in TypeScript: the same is found of any question in any buffer. */
import { once } from "node:events";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { Worker } from "node:worker_threads";
import fc from "fast-check";
import t from "tap";
import { type BucketParts, Buckets } from "../../src/feed/buckets.ts";
import { compileFeeds, type FeedList } from "../../src/feed/compile.ts";
import { codesOf } from "../../src/feed/domain-set.ts";
import { DOMAIN, HEADER, HEADER_BYTES, ROW_WORDS } from "../../src/feed/format.ts";
import { parseDomains } from "../../src/feed/parse.ts";
import type { FeedSource } from "../../src/feed/types.ts";
import { nameToWire } from "../../src/name.ts";
import { type DomainWalk, FOUND, nativeDomainWalk } from "../../src/native/domain-walk.ts";

const EMPTY = new SharedArrayBuffer(0);
const NOTHING: BucketParts = {
  directory: new Uint16Array(EMPTY),
  buckets: new Uint16Array(EMPTY),
  contexts: new Uint16Array(new SharedArrayBuffer(3200)),
  codes: new Uint16Array(EMPTY),
  likely: new Uint8Array(EMPTY),
  key0: 0,
  key1: 0,
  groupBits: 0,
};
const built = nativeDomainWalk(NOTHING) === null ? { skip: "the addon was not built" } : {};

function partsOf(buffer: SharedArrayBuffer): BucketParts {
  const header = new Uint32Array(buffer, 0, HEADER_BYTES / 4);
  return {
    ...codesOf(buffer),
    directory: new Uint16Array(buffer, header[DOMAIN.DIRECTORY_AT]!, header[DOMAIN.ROWS]! * ROW_WORDS),
    buckets: new Uint16Array(buffer, header[DOMAIN.BUCKETS_AT]!),
    key0: header[HEADER.KEY0]!,
    key1: header[HEADER.KEY1]!,
    groupBits: header[DOMAIN.GROUP_BITS]!,
  };
}

function compiled(lists: readonly (readonly string[])[], seed: Uint8Array): SharedArrayBuffer {
  const feeds = lists.map((names, number): FeedList => {
    const name = `f${number}`;
    const source: FeedSource = { name, path: name, kind: "domain", match: "suffix", enabled: true };
    const { entries, count } = parseDomains(Buffer.from(names.join("\n")), "suffix");
    const status = {
      name,
      kind: source.kind,
      entries: count,
      refused: 0,
      samples: [],
      loadedAt: 0,
      error: null,
    };
    return { source, status, entries };
  });
  return compileFeeds(feeds, seed).domains;
}

/** What a walk tells of the question as it stands in `bytes`, as text. */
function answer(walk: DomainWalk, bytes: Uint8Array, length: number): string {
  walk.question.fill(0xaa);
  walk.question.set(bytes);
  walk.find(length);
  const { found } = walk;
  const texts: string[] = [];
  for (let entry = 0; entry < found[FOUND.COUNT]!; entry++) {
    const at = FOUND.FIRST + entry * FOUND.STRIDE;
    texts.push(walk.text(found[at + FOUND.WORD]!, found[at + FOUND.BIT]!));
  }
  return `${found.subarray(0, FOUND.FIRST + texts.length * FOUND.STRIDE).join()} ${texts.join()}`;
}

/** The same with so many zeros behind the buckets that the addon takes them to come from memory, and does things ahead. */
function large(parts: BucketParts): BucketParts {
  const buckets = new Uint16Array(new SharedArrayBuffer(parts.buckets.byteLength + 0x200002));
  buckets.set(parts.buckets);
  return { ...parts, buckets };
}

/** Asks all; throws where they differ. Returns how many entries were found. */
function compare(parts: BucketParts, questions: readonly (readonly [Uint8Array, number])[]): number {
  let found = 0;
  for (const those of [parts, large(parts)]) {
    const native = nativeDomainWalk(those)!;
    const portable = new Buckets(those);
    for (const [bytes, length] of questions) {
      const expected = answer(portable, bytes, length);
      const actual = answer(native, bytes, length);
      if (actual !== expected) {
        throw new Error(
          `${Buffer.from(bytes).toString("hex")} (${length}): ${actual} instead of ${expected}`,
        );
      }
      if (those === parts) found += native.found[FOUND.COUNT]!;
    }
  }
  return found;
}

const label = fc.oneof(
  { weight: 6, arbitrary: fc.stringMatching(/^[ab]{1,2}$/) },
  { weight: 2, arbitrary: fc.stringMatching(/^[a-z0-9_-]{1,30}$/) },
  { weight: 1, arbitrary: fc.constantFrom("x".repeat(63), "-_-".repeat(21), "q") },
);
const name = fc
  .array(label, { minLength: 1, maxLength: 9 })
  .map((labels) => `${labels.join(".")}.zz`)
  .filter((text) => text.length < 254);
const long = fc.integer({ min: 1, max: 124 }).map((labels) => `${"a.".repeat(labels)}zz`);
const names = fc.array(fc.oneof({ weight: 9, arbitrary: name }, { weight: 1, arbitrary: long }), {
  maxLength: 40,
});
const seeds = fc.uint8Array({ minLength: 8, maxLength: 8 });
const mixed = fc.array(fc.nat(3), { minLength: 8, maxLength: 8 });

/** A name as it is asked for, and one with bytes that no stored name has, made from `text`. */
function questionsOf(text: string, cases: readonly number[]): (readonly [Uint8Array, number])[] {
  const wire = nameToWire(text);
  if (wire === null || wire.length < 2) return [];
  const upper = wire.map((byte, at) => {
    return byte >= 97 && byte <= 122 && cases[at % cases.length] === 0 ? byte - 32 : byte;
  });
  const strange = Uint8Array.from(upper);
  const at = 1 + ((cases[0]! * 7 + cases[1]!) % (wire.length - 2));
  strange[at] = [46, 10, 255, 0][cases[2]!]!;
  return [
    [upper, wire.length],
    [strange, wire.length],
    [upper, wire.length - 1],
  ];
}

t.test("random sets and questions", built, async (t) => {
  let found = 0;
  fc.assert(
    fc.property(
      fc.array(names, { minLength: 1, maxLength: 4 }),
      names,
      seeds,
      mixed,
      (lists, more, seed, cases) => {
        const asked = [...lists.flat(), ...more].flatMap((text) => [text, `www.${text}`]);
        const questions = asked.flatMap((text) => questionsOf(text, cases));
        found += compare(partsOf(compiled(lists, seed)), questions);
      },
    ),
    { numRuns: 200 },
  );
  t.ok(found > 1000, `${found} found`);
});

t.test("bytes that are no name, of any length", built, async () => {
  const parts = partsOf(
    compiled([["a.zz", "b.a.zz", "evil.example"]], Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8)),
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 256 }), fc.nat(300), (bytes, length) => {
      compare(parts, [[bytes, length]]);
      compare(parts, [[bytes.map((byte) => byte % 5), length]]);
    }),
    { numRuns: 500 },
  );
  for (let root = 250; root <= 256; root++) {
    // Labels of one byte, the first of one or two.
    const deep = Uint8Array.from({ length: 256 }, (_, at) => {
      return at === root ? 0 : (root - at) % 2 === 0 ? 1 : 97;
    });
    deep[0] = root % 2 === 0 ? 1 : 2;
    for (const size of [root, root + 1, 256, 2 ** 31, 2 ** 32 - 1]) compare(parts, [[deep, size]]);
  }
});

t.test("rubbish in directory and buckets, and groups of any size", built, async () => {
  const list = Array.from(
    { length: 150 },
    (_, number) => `n${number}.${number % 2 === 0 ? "" : "deep."}example`,
  );
  const pristine = compiled([list, list.slice(50)], Uint8Array.of(8, 7, 6, 5, 4, 3, 2, 1));
  const header = new Uint32Array(pristine, 0, HEADER_BYTES / 4);
  const places = [
    [header[DOMAIN.DIRECTORY_AT]!, header[DOMAIN.ROWS]! * ROW_WORDS * 2],
    [header[DOMAIN.BUCKETS_AT]!, pristine.byteLength - header[DOMAIN.BUCKETS_AT]!],
  ] as const;
  const questions = list.flatMap((text) => questionsOf(`www.${text}`, [1]));
  const changes = fc.array(fc.tuple(fc.nat(1), fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 200 });
  fc.assert(
    fc.property(changes, fc.nat(32), fc.nat(400), (changed, groupBits, cut) => {
      const buffer = new SharedArrayBuffer(pristine.byteLength);
      const bytes = new Uint8Array(buffer);
      bytes.set(new Uint8Array(pristine));
      for (const [part, place, byte] of changed) {
        const [from, size] = places[part]!;
        bytes[from + (place % size)] = byte;
      }
      const parts = partsOf(buffer);
      const buckets = parts.buckets.subarray(0, Math.max(0, parts.buckets.length - cut));
      compare({ ...parts, groupBits, buckets }, questions);
    }),
    { numRuns: 300 },
  );
});

t.test("parts that are not whole, or not shared, are refused or empty", built, async (t) => {
  const parts = partsOf(compiled([["evil.example"]], Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8)));
  const refused = (change: Partial<BucketParts>): void => {
    t.throws(() => nativeDomainWalk({ ...parts, ...change }), TypeError, JSON.stringify(Object.keys(change)));
  };
  refused({ directory: Uint16Array.from(parts.directory) });
  refused({ buckets: Uint16Array.from(parts.buckets) });
  refused({ contexts: parts.contexts.subarray(1) });
  refused({ codes: parts.codes.subarray(1) });
  refused({ groupBits: 33 });
  refused({ groupBits: -1 });
  const question = nameToWire("www.evil.example")!;
  const asked = [[question, question.length] as const];
  t.equal(compare(parts, asked), 1);
  t.equal(compare({ ...parts, directory: parts.directory.subarray(0, 0) }, asked), 0);
  t.equal(compare({ ...parts, buckets: parts.buckets.subarray(0, 0) }, asked), 0);
  const walk = nativeDomainWalk(parts)!;
  for (const length of ["1", undefined, {}])
    t.throws(() => Reflect.apply(walk.find, walk, [length]), TypeError);
  t.throws(() => Reflect.apply(walk.text, walk, [0]), TypeError);
});

t.test("contexts and codes that are rubbish end every look-up", built, async () => {
  const parts = partsOf(compiled([["evil.example", "n1.example"]], Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8)));
  const shared = (words: number[]): Uint16Array => {
    const array = new Uint16Array(new SharedArrayBuffer(words.length * 2));
    array.set(words);
    return array;
  };
  const words = (length: number): fc.Arbitrary<number[]> =>
    fc.array(fc.oneof(fc.nat(3), fc.nat(0xffff)), { minLength: length, maxLength: length });
  fc.assert(
    fc.property(
      words(1600),
      fc.nat(3).chain((sets) => words(sets * 40)),
      (contexts, codes) => {
        const walk = nativeDomainWalk({ ...parts, contexts: shared(contexts), codes: shared(codes) })!;
        for (const text of ["evil.example", "www.n1.example"]) {
          const wire = nameToWire(text)!;
          answer(walk, wire, wire.length);
        }
        for (const place of [0, 1, 100, 0xffffffff]) walk.text(place, place);
      },
    ),
    { numRuns: 50 },
  );
});

t.test(
  "the functions keep what they read while they are there, and give it back with their thread",
  built,
  async (t) => {
    const wire = nameToWire("evil.example")!;
    const open = (): DomainWalk => {
      return nativeDomainWalk(partsOf(compiled([["evil.example"]], Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8))))!;
    };
    setFlagsFromString("--expose-gc");
    const collect: () => void = runInNewContext("gc");
    const walk = open();
    const { text } = open();
    for (let round = 0; round < 5; round++) {
      collect();
      // Finalizers run between two turns.
      await new Promise((resolve) => setImmediate(resolve));
      t.match(answer(walk, wire, wire.length), /evil\.example$/);
      t.equal(typeof text(0, 0), "string");
    }
    for (const array of ["directory", "buckets"]) {
      const kept = Object.getOwnPropertyDescriptor(walk.find, array);
      t.match(kept, { writable: false, configurable: false });
    }
    for (let round = 0; round < 5; round++) {
      const worker = new Worker(
        `const { parentPort, workerData } = require("node:worker_threads");
       import(workerData.module).then(({ nativeDomainWalk }) => {
         const walk = nativeDomainWalk(workerData.parts);
         walk.question.set(workerData.wire);
         setInterval(() => walk.find(workerData.wire.length), 1);
         parentPort.postMessage(walk.found[0]);
       });`,
        {
          eval: true,
          workerData: {
            module: new URL("../../src/native/domain-walk.ts", import.meta.url).href,
            parts: partsOf(compiled([["evil.example"]], Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8))),
            wire,
          },
        },
      );
      await once(worker, "message");
      t.equal(await worker.terminate(), 1);
    }
  },
);
