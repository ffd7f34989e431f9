import fc from "fast-check";
import t from "tap";
import { Aggregator } from "../../src/audit/aggregate.ts";
import { identifierFactory } from "../../src/audit/identifier.ts";
import type { AuditContainer, AuditRecord } from "../../src/audit/record.ts";
import type { Finding } from "../../src/policy/types.ts";
import { lookup, START, web } from "./finding.ts";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const FOLD = { after: 5, within: 15 * MINUTE, summaries: 10 * MINUTE };

/** Replicas of one image. */
function replica(number: number): AuditContainer {
  return { ...web, id: `c${number}`, name: `web-${number}` };
}

/** Takes findings and keeps each record in its latest form. */
class Reader {
  readonly all: Aggregator;
  readonly records = new Map<string, AuditRecord>();

  constructor(fold = FOLD, window = MINUTE, limit = 10_000) {
    this.all = new Aggregator({ host: "h1", window, limit, fold, identifier: identifierFactory() });
  }

  add(finding: Finding, container: AuditContainer | null): { record: AuditRecord; isNew: boolean } {
    const found = this.all.find(finding, container);
    const { record, isNew } = this.all.add(finding, container);
    if (found?.id !== (isNew ? undefined : record.id)) throw new Error("`find` and `add` disagree");
    if (isNew === this.records.has(record.id)) throw new Error("a record is new once");
    this.records.set(record.id, record);
    return { record, isNew };
  }

  /** The same lookup of that replica, seconds after the start. */
  see(number: number, seconds: number, more: Partial<Finding> = {}): { record: AuditRecord; isNew: boolean } {
    const time = START + seconds * SECOND;
    return this.add(lookup("evil.example", time, { container: `c${number}`, ...more }), replica(number));
  }

  get list(): AuditRecord[] {
    return [...this.records.values()];
  }
}

const shares = (record: AuditRecord): string =>
  (record.fold?.containers ?? []).map(({ name, count }) => `${name}:${count}`).join(" ");

t.test("the sixth alike audit of an image opens a fold that names its containers", async (t) => {
  const reader = new Reader();
  for (let number = 1; number <= 5; number++) t.notOk("fold" in reader.see(number, number).record);
  const { record, isNew } = reader.see(6, 6, { count: 3 });
  t.ok(isNew);
  t.match(record, { count: 3, container: { name: "web-6" }, fold: { continues: null } });
  t.match(record.message, /^many alike in web-6: lookup of evil\.example/);
  for (let number = 7; number <= 9; number++) t.equal(reader.see(number, number).record.id, record.id);
  const latest = reader.see(7, 8).record;
  t.equal(latest.id, record.id);
  t.equal(shares(latest), "web-6:3 web-7:2 web-8:1 web-9:1");
  t.equal(latest.count, 7);
  t.equal(latest.lastTime, new Date(START + 9 * SECOND).toISOString());
  t.equal(
    latest.message,
    "many alike in 4 containers of docker.io/library/nginx:1.27 (web-6, web-7, web-8, …): " +
      "lookup of evil.example (A) is listed by feed urlhaus",
  );
  t.equal(shares(record), "web-6:3", "a record that was handed out does not change");
  t.notOk("fold" in reader.see(1, 20).record, "what a container's own record still covers stays there");
});

t.test(
  "one container over time: single, folded, a summary every ten minutes, single after a quiet",
  async (t) => {
    const reader = new Reader();
    for (let minute = 0; minute < 60; minute++) reader.see(1, minute * 60);
    t.strictSame(
      reader.list.map(({ count, fold }) => [fold !== undefined, count]),
      [
        ...Array.from({ length: 5 }, () => [false, 1]),
        ...Array.from({ length: 5 }, () => [true, 10]),
        [true, 5],
      ],
    );
    const folds = reader.list.filter(({ fold }) => fold !== undefined);
    t.strictSame(
      folds.map(({ fold }) => fold?.continues),
      [null, ...folds.slice(0, -1).map(({ id }) => id)],
    );
    t.notOk("fold" in reader.see(1, 59 * 60 + 900).record);
  },
);

t.test("five in fifteen minutes, again and again, stay single", async (t) => {
  const reader = new Reader();
  for (let index = 0; index < 40; index++) reader.see(index, index * 180);
  t.ok(reader.list.every(({ fold }) => fold === undefined));
  t.equal(reader.list.length, 40);
});

t.test("who is alike", async (t) => {
  const folded = (make: (index: number) => [Finding, AuditContainer | null]): boolean => {
    const reader = new Reader();
    for (let index = 0; index < 12; index++) reader.add(...make(index));
    return reader.list.some(({ fold }) => fold !== undefined);
  };
  const of = (index: number, more: Partial<Finding> = {}): Finding =>
    lookup("evil.example", START + index, { container: `c${index}`, ...more });
  t.ok(folded((index) => [of(index), replica(index)]));
  t.notOk(
    folded((index) => [of(index), { ...replica(index), imageDigest: `sha256:${index}` }]),
    "images",
  );
  t.notOk(
    folded((index) => [of(index, { rule: `rule ${index}` }), replica(index)]),
    "rules",
  );
  t.notOk(
    folded((index) => [of(index, { effect: "block" }), replica(index)]),
    "each stops a container",
  );
  t.notOk(
    folded((index) => [lookup(`n${index}.example`, START, { container: `c${index}` }), replica(index)]),
    "subjects",
  );
  const unknown = (index: number): AuditContainer => ({ ...replica(index), image: "", imageDigest: "" });
  t.notOk(
    folded((index) => [of(index), unknown(index)]),
    "no image: each container for itself",
  );
  t.ok(folded((index) => [of(0, { time: START + index * MINUTE }), unknown(0)]));
  const host = { container: null, dns: null, attackType: "rulesetChanged", message: "again" } as const;
  t.ok(folded((index) => [lookup("", START + index * MINUTE, host), null]));
  const data = (index: number): Finding =>
    lookup(`n${index}.t.example`, START + index, {
      container: `c${index}`,
      attackType: "suspiciousDNS",
      message: `${index} kB in unique names`,
      reasons: [{ kind: "detection", subject: "t.example" }],
    });
  t.ok(
    folded((index) => [data(index), replica(index)]),
    "a domain that data is sent to",
  );
  const scan = (index: number): Finding => ({
    ...data(index),
    type: "portScan",
    attackType: "verticalPortScan",
    dns: null,
  });
  t.ok(
    folded((index) => [scan(index), replica(index)]),
    "a target that is scanned",
  );
});

t.test("a fold names a hundred containers; those beyond have another", async (t) => {
  const reader = new Reader();
  for (let round = 0; round < 3; round++) {
    for (let number = 0; number < 255; number++) reader.see(number, 100 * round + number / 10);
  }
  const folds = reader.list.filter(({ fold }) => fold !== undefined);
  t.strictSame(
    folds.map(({ fold }) => fold?.containers.length),
    [100, 100, 55],
    "the first five join once their own records are over",
  );
  t.equal(
    reader.list.reduce((sum, { count }) => sum + count, 0),
    3 * 255,
  );
  t.equal(folds[1]?.fold?.continues, folds[0]?.id);
});

t.test("off", async (t) => {
  const reader = new Reader({ ...FOLD, after: 0 });
  for (let number = 0; number < 50; number++) reader.see(number, number);
  t.equal(reader.list.length, 50);
  t.strictSame(reader.all.size, { records: 50, groups: 0, folds: 0 });
});

t.test("what is remembered is bounded", async (t) => {
  const reader = new Reader(FOLD, MINUTE, 50);
  for (let index = 0; index < 500; index++) {
    reader.add(lookup(`n${index}.example`, START, { container: "c1" }), replica(1));
    if (reader.all.size.groups > 50) t.fail(`${reader.all.size.groups} groups`);
  }
  t.ok(reader.all.size.groups > 40);
  reader.see(1, 3_600);
  t.strictSame(reader.all.size, { records: 1, groups: 1, folds: 0 });

  for (let number = 0; number < 9; number++) reader.see(number, 3_700);
  t.equal(reader.all.size.folds, 1);
  reader.see(1, 9_000);
  t.strictSame(reader.all.size, { records: 1, groups: 1, folds: 0 }, "what has rested is forgotten whole");

  const many = new Reader(FOLD, 0);
  for (let index = 0; index < 1_200; index++) {
    for (let time = 0; time < 6; time++) {
      many.add(lookup(`n${index}.example`, START + time, { container: "c1" }), replica(1));
    }
  }
  t.equal(many.all.size.folds, 1_000);
  const again = many.add(lookup("n0.example", START + 10, { container: "c1" }), replica(1));
  t.ok(again.isNew, "one that was closed early is followed by another");
  t.type(again.record.fold?.continues, "string");
});

t.test("no finding is lost or told twice, whatever comes", async () => {
  const event = fc.record({
    container: fc.integer({ min: 0, max: 140 }),
    name: fc.integer({ min: 0, max: 2 }),
    count: fc.integer({ min: 1, max: 9 }),
    step: fc.oneof(
      fc.integer({ min: 0, max: 30 * SECOND }),
      fc.integer({ min: 0, max: 20 * MINUTE }),
      fc.constant(-5),
    ),
    effect: fc.constantFrom("alert", "prevent", "block"),
  });
  fc.assert(
    fc.property(
      fc.array(event, { maxLength: 400, size: "max" }),
      fc.integer({ min: 1, max: 8 }),
      fc.constantFrom(0, MINUTE),
      (events, after, window) => {
        const reader = new Reader({ ...FOLD, after }, window);
        let time = START;
        let total = 0;
        let latest = START;
        const singles = new Map<string, number[]>();
        for (const { container, name, count, step, effect } of events) {
          time += step;
          latest = Math.max(latest, time);
          total += count;
          const more = { container: `c${container}`, count, effect } as const;
          const { record, isNew } = reader.add(lookup(`n${name}.example`, time, more), replica(container));
          const named = record.fold?.containers.some(({ id }) => id === `c${container}`);
          if (!(named ?? record.container?.id === `c${container}`)) return false;
          if (record.fold !== undefined && effect === "block") return false;
          if (isNew && record.fold === undefined && effect !== "block" && time === latest) {
            const key = `${name} ${effect}`;
            const recent = (singles.get(key) ?? []).filter((one) => time - one < FOLD.within);
            if (recent.length >= after) return false;
            singles.set(key, [...recent, time]);
          }
        }
        const folds = reader.list.filter(({ fold }) => fold !== undefined);
        const span = ({ time: from, lastTime }: AuditRecord): number =>
          Date.parse(lastTime) - Date.parse(from);
        return (
          reader.list.reduce((sum, record) => sum + record.count, 0) === total &&
          folds.every((record) => span(record) < FOLD.summaries) &&
          folds.every(({ fold }) => fold !== undefined && fold.containers.length <= 100) &&
          folds.every(
            ({ fold, count }) => fold?.containers.reduce((sum, one) => sum + one.count, 0) === count,
          )
        );
      },
    ),
    { numRuns: 300 },
  );
});
