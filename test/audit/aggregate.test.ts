import fc from "fast-check";
import t from "tap";
import { decodeTime } from "ulid";
import { Aggregator } from "../../src/audit/aggregate.ts";
import { identifierFactory } from "../../src/audit/identifier.ts";
import type { Finding } from "../../src/policy/types.ts";
import { connection, lookup, START, web } from "./finding.ts";

function aggregator(window = 60_000, limit = 100): Aggregator {
  const fold = { after: 0, within: 900_000, summaries: 600_000 };
  return new Aggregator({ host: "h1", window, limit, fold, identifier: identifierFactory() });
}

t.test("alike findings within the window raise the count of one record", async (t) => {
  const all = aggregator();
  const first = all.add(lookup("evil.example"), web);
  t.ok(first.isNew);
  t.match(first.record, {
    count: 1,
    host: "h1",
    time: "2026-11-24T02:33:39.497Z",
    lastTime: first.record.time,
  });
  t.equal(decodeTime(first.record.id), START);
  const second = all.add(lookup("EVIL.example", START + 59_999, { count: 4 }), web);
  t.notOk(second.isNew);
  t.match(second.record, { id: first.record.id, count: 5, time: first.record.time });
  t.equal(second.record.lastTime, "2026-11-24T02:34:39.496Z");
  t.equal(first.record.count, 1, "a record that was handed out does not change");
  const third = all.add(lookup("evil.example", START + 60_000), web);
  t.ok(third.isNew, "the window runs from the first event");
  t.not(third.record.id, first.record.id);
});

t.test("whatever differs opens a record of its own", async (t) => {
  const all = aggregator();
  const findings: Finding[] = [
    lookup("evil.example"),
    lookup("other.example"),
    lookup("evil.example", START, { effect: "alert" }),
    lookup("evil.example", START, { rule: "other" }),
    lookup("evil.example", START, { rule: null }),
    lookup("evil.example", START, { container: "other" }),
    lookup("evil.example", START, { attackType: "explicitlyDeniedDNS" }),
    connection("203.0.113.1", 443),
    connection("203.0.113.1", 444),
    connection("203.0.113.2", 443),
  ];
  for (const finding of findings) t.ok(all.add(finding, web).isNew);
  for (const finding of findings) t.notOk(all.add(finding, web).isNew);
});

t.test("an event a little older than the record is folded, and does not move its times back", async (t) => {
  const all = aggregator();
  all.add(lookup("evil.example", START), web);
  const { record, isNew } = all.add(lookup("evil.example", START - 5), web);
  t.notOk(isNew);
  t.equal(record.lastTime, record.time);
});

t.test("what is held open is bounded; closed records are forgotten", async (t) => {
  const all = aggregator(1_000, 10);
  for (let index = 0; index < 50; index++) all.add(lookup(`n${index}.example`), web);
  t.equal(all.size.records, 10);
  t.equal(all.find(lookup("n0.example"), web), undefined);
  t.ok(all.find(lookup("n49.example"), web));
  all.add(lookup("late.example", START + 5_000), web);
  t.equal(all.size.records, 1);
});

t.test("a window of 0 folds nothing", async (t) => {
  const all = aggregator(0);
  t.ok(all.add(lookup("a.example"), web).isNew);
  t.ok(all.add(lookup("a.example"), web).isNew);
});

t.test("counts agree with a slow twin on any sequence", async () => {
  const window = 100;
  fc.assert(
    fc.property(
      fc.array(fc.record({ name: fc.integer({ min: 0, max: 4 }), step: fc.integer({ min: 0, max: 40 }) })),
      (events) => {
        const fast = aggregator(window, 1_000);
        const slow: { name: number; since: number; count: number }[] = [];
        let time = START;
        for (const { name, step } of events) {
          time += step;
          const open = slow.findLast((record) => record.name === name && time - record.since < window);
          if (open === undefined) slow.push({ name, since: time, count: 1 });
          else open.count++;
          const { record, isNew } = fast.add(lookup(`n${name}.example`, time), web);
          if (isNew !== (open === undefined)) return false;
          if (record.count !== (open?.count ?? 1)) return false;
        }
        return true;
      },
    ),
  );
});

t.test("identifiers are unique, ascend within a millisecond, and carry the event's own time", async (t) => {
  const identifier = identifierFactory();
  const made = Array.from({ length: 1_000 }, () => identifier(START));
  t.same(made, [...made].sort());
  t.equal(new Set(made).size, 1_000);
  t.equal(decodeTime(identifier(START - 50)), START - 50);
  const worn = identifierFactory(() => "Z".repeat(16));
  t.equal(worn(START).length, 26);
  t.equal(worn(START).length, 26, "exhausted random bits are drawn anew");
});
