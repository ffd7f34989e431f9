import { mkdirSync, readFileSync, rmdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { ManualClock } from "../src/clock.ts";
import type { ExemptionRequest } from "../src/control/types.ts";
import { GivenExemptions, LONGEST_EXEMPTION } from "../src/exemptions.ts";
import { nameToWire } from "../src/name.ts";
import type { Exemption } from "../src/policy/exemption.ts";

const HOUR = 3_600_000;
const WEB = { id: "c0ffee", name: "web" };
const DB = { id: "decade", name: "db" };

interface World {
  readonly clock: ManualClock;
  readonly file: string;
  /** What is in force, by container. */
  readonly applied: Map<string, readonly Exemption[]>;
  readonly lines: string[];
  given: GivenExemptions;
  restart(meanwhile?: () => void): Promise<void>;
}

async function world(t: Test): Promise<World> {
  const clock = new ManualClock(Date.UTC(2026, 10, 24, 3));
  const applied = new Map<string, readonly Exemption[]>();
  const lines: string[] = [];
  const file = join(t.testdir(), "exemptions.json");
  const write = (_facts: object, text?: string): void => void lines.push(text ?? "");
  const open = (): Promise<GivenExemptions> =>
    GivenExemptions.open({
      file,
      clock,
      log: { info: write, warn: write, error: write } as never,
      apply: async (id, list) => {
        applied.set(id, list);
      },
    });
  const made: World = {
    clock,
    file,
    applied,
    lines,
    given: await open(),
    async restart(meanwhile) {
      made.given.stop();
      applied.clear();
      meanwhile?.();
      made.given = await open();
      await made.given.start();
    },
  };
  t.teardown(() => made.given.stop());
  return made;
}

function request(target: string, more: Partial<ExemptionRequest> = {}): ExemptionRequest {
  return { target, time: HOUR, by: "alice", note: null, force: false, ...more };
}
const entries = (world: World): readonly string[] => world.given.list().map(({ entry }) => entry);
/** Lets what was begun in the background end. */
const settled = (world: World): Promise<unknown> =>
  world.given.withdraw(DB, "nothing.example").catch(() => undefined);

t.test("one that is given is in force at once, and ends by itself", async (t) => {
  const w = await world(t);
  const given = await w.given.give(WEB, request("Evil.Example", { note: "INC-1" }));
  t.same(given, {
    container: WEB,
    entry: "evil.example",
    since: w.clock.now(),
    until: w.clock.now() + HOUR,
    by: "alice",
    note: "INC-1",
  });
  t.same(w.applied.get(WEB.id), [{ entry: "evil.example", until: given.until }]);
  const compiled = w.given.of(WEB.id);
  t.ok(compiled?.name(nameToWire("evil.example") ?? new Uint8Array()));
  t.equal(w.given.of(WEB.id), compiled, "made once");
  t.equal(w.given.of(DB.id), null);

  w.clock.advance(HOUR - 1_000);
  t.same(entries(w), ["evil.example"]);
  w.clock.advance(1_000);
  t.same(entries(w), []);
  t.equal(w.given.of(WEB.id), null);
  await settled(w);
  t.same(w.applied.get(WEB.id), []);
  t.same(JSON.parse(readFileSync(w.file, "utf8")).exemptions, []);
  t.match(w.lines, [/exemption of `evil\.example` ended: its time is over/]);
});

t.test("the rest of its time outlives the daemon, and no more than that", async (t) => {
  const w = await world(t);
  await w.given.give(WEB, request("evil.example"));
  await w.given.give(DB, request("203.0.113.9:443", { time: 2 * HOUR }));
  t.equal(statSync(w.file).mode & 0o777, 0o600);
  await w.restart(() => w.clock.advance(HOUR / 2));
  t.same([...w.applied.keys()], [WEB.id, DB.id], "put in force again");
  w.clock.advance(HOUR / 2);
  t.same(entries(w), ["203.0.113.9:443"]);
  await settled(w);
  await w.restart(() => w.clock.advance(2 * HOUR));
  t.same(entries(w), [], "what ended meanwhile does not come back");
  t.same(w.applied.size, 0);
});

t.test("a clock that is set back gives no more time, one set ahead takes it", async (t) => {
  const w = await world(t);
  await w.given.give(WEB, request("evil.example"));
  w.clock.set(w.clock.now() - 24 * HOUR);
  w.clock.advance(HOUR);
  t.same(entries(w), []);
  await w.given.give(WEB, request("evil.example"));
  w.clock.set(w.clock.now() + 2 * HOUR);
  t.same(entries(w), []);
});

t.test("the same target again takes the place of the first", async (t) => {
  const w = await world(t);
  await w.given.give(WEB, request("evil.example"));
  await w.given.give(DB, request("evil.example"));
  await w.given.give(WEB, request("EVIL.example", { time: 2 * HOUR, by: "bob" }));
  t.same(
    w.given.list().map(({ container, by }) => `${container.name} ${by}`),
    ["db alice", "web bob"],
  );
});

t.test("withdrawn: one, or all of a container", async (t) => {
  const w = await world(t);
  for (const target of ["a.example", "b.example", "c.example"]) await w.given.give(WEB, request(target));
  await w.given.give(DB, request("a.example"));
  const [ended] = await w.given.withdraw(WEB, "A.example");
  t.equal(ended?.entry, "a.example");
  t.same(
    w.applied.get(WEB.id)?.map(({ entry }) => entry),
    ["b.example", "c.example"],
  );
  t.equal((await w.given.withdraw(WEB, null)).length, 2);
  t.same(w.applied.get(WEB.id), []);
  t.same(entries(w), ["a.example"], "another container keeps its own");
  await t.rejects(w.given.withdraw(WEB, null), { code: "TM_NOT_FOUND" });
  await t.rejects(w.given.withdraw(DB, "x.example"), { code: "TM_NOT_FOUND", message: /x\.example/ });
  await w.restart();
  t.same(entries(w), ["a.example"]);
});

t.test("a container that is gone takes its own along", async (t) => {
  const w = await world(t);
  await w.given.give(WEB, request("a.example"));
  await w.given.give(DB, request("a.example"));
  w.given.gone([WEB.id, "another"]);
  t.same(
    w.given.list().map(({ container }) => container.name),
    ["db"],
  );
  await settled(w);
  await w.restart();
  t.same(
    w.given.list().map(({ container }) => container.name),
    ["db"],
  );
});

t.test("bounded in time, breadth and number", async (t) => {
  const w = await world(t);
  const refused = (target: string, message: RegExp, more: Partial<ExemptionRequest> = {}) =>
    t.rejects(async () => w.given.give(WEB, request(target, more)), { code: "TM_USAGE", message }, target);
  await refused("evil.example", /7 days at most/, { time: LONGEST_EXEMPTION + 1 });
  await refused("evil.example", /at most/, { time: 0 });
  await refused("evil.example", /at most/, { time: Number.NaN });
  await refused("evil.example/x", /URL/);
  await refused("*.com", /all below `com`.*--force/);
  await refused("*", /every name/);
  t.equal((await w.given.give(WEB, request("*.com", { force: true }))).entry, "*.com");
  for (let index = 1; index < 32; index++) await w.given.give(WEB, request(`n${index}.example`));
  await refused("one-more.example", /`web` has 32 exemptions/);
  await w.given.give(WEB, request("n1.example", { time: 2 * HOUR }));
  for (let index = 32; index < 1_000; index++) {
    const id = `c${index % 40}`;
    await w.given.give({ id, name: id }, request(`n${index}.example`));
  }
  await t.rejects(w.given.give(DB, request("a.example")), { code: "TM_USAGE", message: /there are 1000/ });
});

t.test("what cannot be written changes nothing", async (t) => {
  const w = await world(t);
  await w.given.give(WEB, request("a.example"));
  mkdirSync(`${w.file}.new`);
  await t.rejects(w.given.give(WEB, request("b.example")), { code: "TM_STORE" });
  await t.rejects(w.given.withdraw(WEB, null), { code: "TM_STORE" });
  t.same(entries(w), ["a.example"]);
  t.equal(w.applied.get(WEB.id)?.length, 1);
  rmdirSync(`${w.file}.new`);
  await w.given.give(WEB, request("b.example"));
  t.same(entries(w), ["a.example", "b.example"]);
});

t.test("a file that cannot be understood is set aside", async (t) => {
  const w = await world(t);
  const bad = { container: WEB, entry: "not a name", since: 0, until: 9e15, by: null, note: null };
  for (const text of [
    "{",
    "[]",
    "null",
    '{"version":2}',
    JSON.stringify({ version: 1, exemptions: [bad] }),
  ]) {
    await w.restart(() => writeFileSync(w.file, text));
    t.same(entries(w), [], text);
    t.match(w.lines.at(-1), /cannot be understood and was set aside/);
  }
});
