import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import fc from "fast-check";
import t, { type Test } from "tap";
import type { IncidentSummary } from "../../src/audit/incident-record.ts";
import type { IncidentLimits } from "../../src/audit/incident-upkeep.ts";
import { IncidentLog } from "../../src/audit/incidents.ts";
import { ManualClock } from "../../src/clock.ts";
import { lookup, START, web } from "./finding.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const LIMITS = { closeAfter: 7 * DAY, closeGoneAfter: 3 * DAY, limit: 500, retention: { age: 90 * DAY } };

/** An incident log on a clock of its own, and the containers there are; null: the runtime does not tell. */
class World {
  readonly clock = new ManualClock(START);
  readonly notices: string[] = [];
  readonly told: [IncidentSummary, boolean][] = [];
  readonly file: string;
  containers: Set<string> | null = null;
  log: IncidentLog;

  constructor(folder: string, limits: Partial<IncidentLimits> = {}) {
    this.file = join(folder, "incidents.db");
    this.log = this.start(limits);
  }

  start(limits: Partial<IncidentLimits> = {}): IncidentLog {
    this.log = new IncidentLog({
      file: this.file,
      host: "h1",
      clock: this.clock,
      limits: { ...LIMITS, ...limits },
      containers: () => this.containers,
      onNotice: (message) => void this.notices.push(message),
    });
    this.log.subscribe((incident, isNew) => void this.told.push([incident, isNew]));
    return this.log;
  }

  scan(container = "c1"): void {
    const attackType = "horizontalPortScan";
    const finding = lookup("unused.example", this.clock.now(), { container, attackType, message: "a scan" });
    this.log.observe(finding, null, { ...web, id: container, name: `name of ${container}` });
  }

  get open(): string[] {
    return this.log
      .list(false)
      .map(({ container }) => container.id)
      .sort();
  }
}

function world(t: Test, limits: Partial<IncidentLimits> = {}): World {
  const made = new World(t.testdir(), limits);
  t.teardown(() => made.log.stop());
  return made;
}

t.test("without new evidence an incident closes by itself, and says so", async (t) => {
  const all = world(t);
  all.scan();
  const id = all.log.list(false)[0]!.id;
  all.clock.advance(5 * DAY);
  all.scan();
  all.clock.advance(7 * DAY - MINUTE);
  t.strictSame(all.open, ["c1"], "evidence keeps it open");
  all.log.acknowledge(id, "ours, I think");
  all.clock.advance(7 * DAY - MINUTE);
  t.strictSame(all.open, ["c1"], "and so does somebody who looks at it");
  all.told.length = 0;
  all.clock.advance(2 * MINUTE);
  t.strictSame(all.open, []);
  const note = "closed by itself: no new evidence for 7 d; noted before: ours, I think";
  t.match(all.told, [[{ id, state: "closed", note }, false]]);
  t.match(all.log.show(id), {
    state: "closed",
    note,
    closedAt: new Date(all.clock.now() - MINUTE).toISOString(),
  });
  t.match(all.log.stats(), { open: { portScan: 0 }, closedByItself: { rested: 1, containerGone: 0 } });

  all.scan();
  t.match(all.log.show(id), { state: "open", reopened: 1, note }, "it comes again within a day");
  all.clock.advance(8 * DAY);
  t.equal(all.log.show(id).note, note, "what was noted is not noted twice");
  t.match(all.log.stats(), { opened: { portScan: 2 }, closedByItself: { rested: 2 } });
  t.strictSame(all.notices, []);
});

t.test("what happened while nobody ran is made up for at the start", async (t) => {
  const all = world(t);
  all.scan();
  all.log.stop();
  all.clock.advance(8 * DAY);
  all.start();
  t.strictSame(all.open, []);
  t.match(all.log.list(true), [{ note: "closed by itself: no new evidence for 7 d" }]);
});

t.test("a container that is gone for long takes its incidents along", async (t) => {
  const all = world(t);
  all.containers = new Set(["c1", "c2"]);
  all.scan("c1");
  all.scan("c2");
  all.clock.advance(4 * DAY);
  t.strictSame(all.open, ["c1", "c2"]);
  all.containers = new Set(["c2"]);
  all.clock.advance(2 * DAY);
  all.containers = new Set(["c1", "c2"]);
  all.clock.advance(HOUR);
  all.scan("c1");
  all.scan("c2");
  all.containers = new Set(["c2"]);
  all.clock.advance(2 * DAY);
  t.strictSame(all.open, ["c1", "c2"], "its coming back counts");
  all.containers = null;
  all.clock.advance(DAY + HOUR);
  t.strictSame(all.open, ["c1", "c2"], "nothing is known of it while the runtime does not tell");
  all.containers = new Set(["c2"]);
  all.clock.advance(MINUTE);
  t.strictSame(all.open, ["c2"]);
  t.match(
    all.log.list(true).find(({ container }) => container.id === "c1"),
    {
      note: "closed by itself: its container was gone for 3 d",
    },
  );
  t.match(all.log.stats().closedByItself, { containerGone: 1, rested: 0 });
});

t.test("0: never", async (t) => {
  const all = world(t, { closeAfter: 0, closeGoneAfter: 0 });
  all.containers = new Set();
  all.scan();
  all.clock.advance(30 * DAY);
  t.strictSame(all.open, ["c1"]);
});

t.test("beyond the bound the one that rested longest gives way, which is told", async (t) => {
  const all = world(t, { limit: 3 });
  for (const container of ["c1", "c2", "c3"]) {
    all.scan(container);
    all.clock.advance(MINUTE);
  }
  all.scan("c1");
  all.clock.advance(MINUTE);
  all.scan("c4");
  t.strictSame(all.open, ["c1", "c3", "c4"]);
  t.match(all.notices, [/^incident \w{26} \(portScan of `name of c2`\) gives way: more than 3 are open/]);
  t.match(
    all.log.list(true).find(({ container }) => container.id === "c2"),
    {
      state: "closed",
      note: "closed by itself: more than 3 were open, and it had rested longest",
    },
  );
  t.match(all.log.stats(), { open: { portScan: 3 }, closedByItself: { crowded: 1 } });
  all.log.stop();
  all.start({ limit: 1 });
  t.strictSame(all.open, ["c4"], "a lower bound holds from the start");
});

t.test("one that gave way opens again when it comes again, however soon", async (t) => {
  const all = world(t, { limit: 1 });
  for (const container of ["c1", "c2", "c1", "c2"]) all.scan(container);
  t.match(all.log.list(true), [
    { container: { id: "c2" }, state: "open", reopened: 1, count: 2 },
    { container: { id: "c1" }, state: "closed", reopened: 1, count: 2 },
  ]);
  t.equal(all.log.list(true).length, 2);
});

t.test("closed ones are deleted when they are old, without anybody closing another", async (t) => {
  const all = world(t, { closeAfter: 0, retention: { age: 10 * DAY } });
  all.scan("c1");
  all.scan("c2");
  all.log.close(all.log.list(false).find(({ container }) => container.id === "c1")!.id, "done");
  all.clock.advance(10 * DAY - MINUTE);
  t.equal(all.log.list(true).length, 2);
  all.clock.advance(2 * MINUTE);
  t.strictSame(
    all.log.list(true).map(({ container }) => container.id),
    ["c2"],
    "open ones stay",
  );
});

t.test("while the disk fails what waits is bounded, and what is given up is told", async (t) => {
  const all = world(t, { limit: 2 });
  const saboteur = new DatabaseSync(all.file);
  saboteur.exec(
    "CREATE TRIGGER fault BEFORE INSERT ON incident BEGIN SELECT RAISE(ABORT, 'disk on fire'); END",
  );
  for (let index = 0; index < 20; index++) {
    all.scan(`c${String(index).padStart(2, "0")}`);
    all.clock.advance(10);
  }
  t.match(all.log.stats(), { error: /disk on fire/, closedByItself: { crowded: 18 } });
  const lost = all.notices.filter((notice) => /is lost: it closed while/.test(notice)).length;
  t.equal(lost, 16);
  saboteur.exec("DROP TRIGGER fault");
  saboteur.close();
  all.clock.advance(MINUTE);
  t.equal(all.log.stats().error, null);
  t.ok(all.notices.includes("incidents are written again"));
  t.strictSame(
    all.log.list(true).map(({ container }) => container.id),
    ["c19", "c18", "c17", "c16"],
  );
  t.strictSame(all.open, ["c18", "c19"]);
});

t.test("whatever comes, the bound holds and every incident is open or closed with a reason", async (t) => {
  const step = fc.record({
    container: fc.integer({ min: 0, max: 7 }),
    wait: fc.integer({ min: 0, max: 3 * DAY }),
    exists: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), fc.integer({ min: 1, max: 4 }), (steps, limit) => {
      const folder = t.testdir();
      const all = new World(folder, { limit });
      all.containers = new Set();
      try {
        for (const { container, wait, exists } of steps) {
          const id = `c${container}`;
          if (exists) all.containers.add(id);
          else all.containers.delete(id);
          all.scan(id);
          if (all.open.length > limit || !all.open.includes(id)) return false;
          // Much at once: a long quiet is walked through minute by minute.
          all.clock.advance(Math.floor(wait / HOUR) * MINUTE);
        }
        const { opened, closedByItself, open } = all.log.stats();
        const closed = Object.values(closedByItself).reduce((sum, one) => sum + one, 0);
        const stored = all.log.list(true);
        return (
          opened.portScan === open.portScan + closed &&
          stored.every(({ state, note }) => state !== "closed" || note?.startsWith("closed by itself: "))
        );
      } finally {
        all.log.stop();
      }
    }),
    { numRuns: 25 },
  );
});
