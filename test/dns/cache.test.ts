import fc from "fast-check";
import t from "tap";
import { type Answer, parseAnswer } from "../../src/dns/answer.ts";
import { AnswerCache, LARGE } from "../../src/dns/cache.ts";
import { parseQuery, Query, type QueryKey } from "../../src/dns/message.ts";
import { query, questionEnd, record, reply, type WireRecord } from "./wire.ts";

const BOUNDS = { minTTL: 0, maxTTL: 86_400, maxNegativeTTL: 900 };

function key(name: string, type = 1, dnssec = false): Query {
  const message = query(name, type, dnssec ? { edns: 1232, dnssec } : {});
  const parsed = new Query();
  parseQuery(message, 0, message.length, parsed, 7);
  return parsed;
}

function known({ key, nameLength, kind, hash }: QueryKey): QueryKey {
  return { key, nameLength, kind, hash };
}

function answer(name: string, records: readonly WireRecord[], type = 1): Answer {
  const asked = query(name, type);
  const message = reply(asked, { answers: records });
  const wireName = asked.subarray(12, questionEnd(asked) - 4);
  const parsed = parseAnswer(message, 0, message.length, questionEnd(asked), wireName, type, BOUNDS);
  if (parsed === null) throw new Error("malformed");
  return parsed;
}

function sections(cache: AnswerCache, now: number): Buffer {
  const target = Buffer.alloc(cache.length);
  cache.copy(target, 0, now, 30);
  return target;
}

t.test("behaves as a map with expiry, as long as there is room", async () => {
  const names = Array.from({ length: 40 }, (_, index) => `n${index}.example`);
  fc.assert(
    fc.property(
      fc.array(
        fc.record({
          name: fc.constantFrom(...names),
          type: fc.constantFrom(1, 16),
          ttl: fc.integer({ min: 0, max: 20 }),
          size: fc.constantFrom(1, 3, 40),
          wait: fc.constantFrom(0, 0, 1, 5),
          insert: fc.boolean(),
        }),
        { maxLength: 80 },
      ),
      (steps) => {
        const cache = new AnswerCache(1 << 20, 0);
        const oracle = new Map<string, { expires: number; stored: number; answer: Answer }>();
        let now = 100;
        for (const { name, type, ttl, size, wait, insert } of steps) {
          now += wait;
          const asked = key(name, type);
          if (insert) {
            const data = Array.from({ length: size }, (_, index) =>
              record(`${name} ${ttl} TYPE${type} 0102${String(index % 10).repeat(4)}`),
            );
            const made = answer(name, data, type);
            cache.insert(asked, made, now);
            if (ttl > 0) oracle.set(`${name} ${type}`, { expires: now + ttl, stored: now, answer: made });
            continue;
          }
          const expected = oracle.get(`${name} ${type}`);
          const found = cache.probe(asked);
          if (found >= 0 !== (expected !== undefined)) return false;
          if (expected === undefined || expected.expires <= now) continue;
          if (cache.expires !== expected.expires) return false;
          const wanted = Buffer.from(
            expected.answer.bytes.subarray(expected.answer.questionEnd, expected.answer.length),
          );
          for (const at of expected.answer.ttls) {
            wanted.writeUInt32BE(expected.expires - now, at - expected.answer.questionEnd);
          }
          if (!sections(cache, now).equals(wanted)) return false;
        }
        return true;
      },
    ),
    { numRuns: 80 },
  );
});

t.test("type and DO tell answers apart, and the hash alone does not", async (t) => {
  const cache = new AnswerCache(1 << 20, 0);
  const asked = key("a.example");
  cache.insert(asked, answer("a.example", [record("a.example 60 A 198.51.100.7")]), 1);
  t.ok(cache.probe(key("A.EXAMPLE")) >= 0);
  t.equal(cache.probe(key("a.example", 28)), -1);
  t.equal(cache.probe(key("a.example", 1, true)), -1);
  const forged = { ...known(key("b.example")), hash: asked.hash };
  t.equal(cache.probe(forged), -1, "same hash, other name");
  const longer = { ...known(key("a.example.com")), hash: asked.hash };
  t.equal(cache.probe(longer), -1);
});

t.test("memory is bounded; the longest unused give way, in small and in large", async (t) => {
  const cache = new AnswerCache(1 << 20, 0);
  for (let index = 0; index < 20_000; index++) {
    const name = `n${index}.example`;
    cache.insert(key(name), answer(name, [record(`${name} 600 A 198.51.100.7`)]), 1);
  }
  t.ok(cache.entries <= (1 << 20) / 384, `${cache.entries} entries`);
  t.ok(cache.probe(key("n19999.example")) >= 0);
  const small = cache.entries;
  const big = (name: string) =>
    answer(
      name,
      Array.from({ length: 100 }, (_, index) => record(`${name} 600 A 198.51.100.${index}`)),
    );
  for (let index = 0; index < 2000; index++)
    cache.insert(key(`big${index}.example`), big(`big${index}.example`), 1);
  t.ok((cache.entries - small) * 1600 < 1 << 20, `${cache.entries - small} large ones`);
  t.equal(cache.probe(key("big1999.example")), LARGE);
  t.equal(cache.length, 1600);
});

t.test("an answer that changes size moves between small and large", async (t) => {
  const cache = new AnswerCache(1 << 20, 0);
  const asked = key("a.example");
  const records = (count: number) =>
    Array.from({ length: count }, (_, index) => record(`a.example 60 A 198.51.100.${index}`));
  for (const count of [1, 100, 2, 50]) {
    cache.insert(asked, answer("a.example", records(count)), 1);
    t.ok(cache.probe(asked) >= 0);
    t.equal(cache.answerCount, count);
    t.equal(cache.entries, 1);
  }
});

t.test("every answer ever stored has a generation of its own", async (t) => {
  const cache = new AnswerCache(1 << 20, 0);
  const seen = new Set<number>();
  for (let index = 0; index < 50; index++) {
    cache.insert(key("a.example"), answer("a.example", [record("a.example 60 A 198.51.100.7")]), 1);
    cache.probe(key("a.example"));
    seen.add(cache.generation);
  }
  t.equal(seen.size, 50);
});
