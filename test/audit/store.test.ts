import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import t from "tap";
import { AuditDatabase } from "../../src/audit/database.ts";
import { AuditLog, type AuditLogOptions } from "../../src/audit/store.ts";
import { ManualClock } from "../../src/clock.ts";
import { lookup, START, web } from "./finding.ts";

function options(file: string, more: Partial<AuditLogOptions> = {}): AuditLogOptions {
  return {
    file,
    host: "h1",
    window: 60_000,
    fold: { after: 5, within: 900_000, summaries: 600_000 },
    queue: 20_000,
    retention: { age: 1e15, size: 1e12 },
    clock: new ManualClock(START),
    onNotice: () => undefined,
    ...more,
  };
}

t.test("10,000 findings in a burst: every one that was accepted is stored and told", async (t) => {
  const file = join(t.testdir(), "audits.db");
  const log = await AuditLog.open(options(file));
  const told = new Map<string, number>();
  let wrong = 0;
  log.subscribe((record, isNew) => {
    if (isNew === told.has(record.id)) wrong++;
    told.set(record.id, record.count);
  });
  let accepted = 0;
  for (let index = 0; index < 10_000; index++) {
    if (log.add(lookup(`n${index}.example`, START + (index >> 4)), web)) accepted++;
  }
  t.equal(accepted, 10_000);
  await log.flush();
  t.equal(told.size, 10_000);
  t.equal(wrong, 0, "a record is new once");
  t.match(log.stats(), { accepted: 10_000, folded: 0, dropped: 0, waiting: 0, stored: 10_000, error: null });
  await log.close();
  const database = new AuditDatabase(file, t.fail);
  t.equal(database.counts().stored, 10_000);
  database.close();
});

t.test("repeats are one record, written in its latest form", async (t) => {
  const log = await AuditLog.open(options(join(t.testdir(), "audits.db")));
  t.teardown(() => log.close());
  for (let index = 0; index < 5_000; index++) log.add(lookup("evil.example", START + index), web);
  await log.flush();
  for (let index = 0; index < 10; index++) log.add(lookup("evil.example", START + 6_000), web);
  await log.flush();
  const [record, ...more] = await log.query({});
  t.same(more, []);
  t.match(record, {
    count: 5_010,
    lastTime: new Date(START + 6_000).toISOString(),
    container: { name: "web" },
  });
  t.match(log.stats(), { accepted: 5_010, folded: 5_009, stored: 1 });
});

t.test(
  "what waits is bounded: refused findings are counted, repeats of a waiting one are taken",
  async (t) => {
    const log = await AuditLog.open(options(join(t.testdir(), "audits.db"), { queue: 100 }));
    t.teardown(() => log.close());
    for (let index = 0; index < 150; index++) log.add(lookup(`n${index}.example`), web);
    t.ok(log.add(lookup("n5.example"), web));
    t.match(log.stats(), { accepted: 101, dropped: 50, waiting: 100 });
    await log.flush();
    t.ok(
      log.add(lookup("n149.example"), web),
      "there is room again, and nothing of the refused one remained open",
    );
    await log.flush();
    t.equal(log.stats().stored, 101);
  },
);

t.test("alike findings of many containers are one record, which is told and found by each", async (t) => {
  const log = await AuditLog.open(options(join(t.testdir(), "audits.db"), { queue: 6 }));
  t.teardown(() => log.close());
  const told: [string, boolean, number][] = [];
  log.subscribe((record, isNew) => void told.push([record.container?.name ?? "", isNew, record.count]));
  const see = (number: number): string | null => {
    const container = { ...web, id: `c${number}`, name: `web-${number}` };
    return log.take(lookup("evil.example", START + number, { container: container.id }), container);
  };
  const ids = Array.from({ length: 100 }, (_, number) => see(number));
  t.equal(new Set(ids).size, 6, "what is folded finds room behind a record that waits");
  await log.flush();
  t.equal(see(7), ids[7]);
  await log.flush();
  t.same(told.slice(5), [
    ["web-5", true, 95],
    ["web-5", false, 96],
  ]);
  t.match(await log.query({ container: "web-99" }), [{ id: ids[99], count: 96 }]);
  t.match(log.stats(), { accepted: 101, folded: 95, dropped: 0, stored: 6 });
});

t.test("a listener that throws, and one that has gone", async (t) => {
  const notices: string[] = [];
  const onNotice = (message: string): void => void notices.push(message);
  const log = await AuditLog.open(options(join(t.testdir(), "audits.db"), { onNotice }));
  t.teardown(() => log.close());
  let heard = 0;
  log.subscribe(() => {
    throw new Error("not today");
  });
  const leave = log.subscribe(() => heard++);
  log.add(lookup("a.example"), web);
  await log.flush();
  leave();
  log.add(lookup("b.example"), web);
  await log.flush();
  t.equal(heard, 1);
  t.match(notices, [/not today/, /not today/]);
});

t.test("while the disk fails findings wait, and are written when it works again", async (t) => {
  const file = join(t.testdir(), "audits.db");
  const clock = new ManualClock(START);
  const notices: string[] = [];
  const log = await AuditLog.open(options(file, { clock, onNotice: (message) => notices.push(message) }));
  t.teardown(() => log.close());
  const saboteur = new DatabaseSync(file);
  saboteur.exec("CREATE TRIGGER fault BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'disk on fire'); END");
  log.add(lookup("a.example"), web);
  await t.rejects(log.flush(), { code: "TM_STORE", message: /disk on fire/ });
  log.add(lookup("a.example", START + 1), web);
  t.match(log.stats(), { waiting: 1, error: /disk on fire/ });
  saboteur.exec("DROP TRIGGER fault");
  saboteur.close();
  const written = new Promise<void>((resolve) => log.subscribe(() => resolve()));
  clock.advance(1_000);
  await written;
  await log.flush();
  t.match(log.stats(), { waiting: 0, stored: 1, error: null });
  t.match(await log.query({}), [{ count: 2 }]);
  t.match(notices, [/disk on fire/, "audits are written again"]);
});

t.test("a worker that ends by itself is started again, and nothing accepted is lost", async (t) => {
  const clock = new ManualClock(START);
  const log = await AuditLog.open(options(join(t.testdir(), "audits.db"), { clock }));
  t.teardown(() => log.close());
  log.add(lookup("a.example"), web);
  await log.flush();
  const { postMessage } = Worker.prototype;
  t.teardown(() => {
    Worker.prototype.postMessage = postMessage;
  });
  Worker.prototype.postMessage = function kill() {
    Worker.prototype.postMessage = postMessage;
    void this.terminate();
  };
  log.add(lookup("b.example"), web);
  await t.rejects(log.flush(), { code: "TM_STORE", message: /audit worker has ended/ });
  t.match(log.stats(), { waiting: 1, error: /ended/ });
  log.add(lookup("a.example"), web);
  const written = new Promise<void>((resolve) => log.subscribe(() => resolve()));
  clock.advance(1_000);
  await written;
  await log.flush();
  t.match(log.stats(), { waiting: 0, stored: 2, error: null });
  t.match(await log.query({}), [
    { dns: { name: "a.example" }, count: 2 },
    { dns: { name: "b.example" }, count: 1 },
  ]);
});

t.test("old records go when the clock says so", async (t) => {
  const clock = new ManualClock(START);
  const retention = { age: 30_000, size: 1e12 };
  const log = await AuditLog.open(options(join(t.testdir(), "audits.db"), { clock, retention }));
  t.teardown(() => log.close());
  log.add(lookup("a.example"), web);
  await log.flush();
  clock.advance(60_000);
  t.same(await log.query({}), []);
  t.equal(log.stats().stored, 0);
});

t.test("a place that cannot be written", async (t) => {
  const folder = t.testdir({ file: "" });
  await t.rejects(AuditLog.open(options(join(folder, "file", "audits.db"))), { code: "TM_STORE" });
});

t.test("a closed log refuses and counts", async (t) => {
  const log = await AuditLog.open(options(join(t.testdir(), "audits.db")));
  log.add(lookup("a.example"), web);
  await log.close();
  await log.close();
  t.notOk(log.add(lookup("b.example"), web));
  t.match(log.stats(), { stored: 1, dropped: 1 });
  await t.rejects(log.query({}), { code: "TM_STORE" });
});

/** The test runner puts a loader of its own into every child that it sees; `env` takes it out again. */
function burst(...args: readonly string[]): ChildProcessByStdio<null, Readable, null> {
  const command = ["-u", "NODE_OPTIONS", process.execPath, BURST, ...args];
  return spawn("env", command, { stdio: ["ignore", "pipe", "inherit"] });
}

const BURST = fileURLToPath(new URL("./burst.ts", import.meta.url));

t.test("killed after flush: all that was accepted is there", async (t) => {
  const file = join(t.testdir(), "audits.db");
  const child = burst(file, "10000", "flushed");
  t.teardown(() => child.kill("SIGKILL"));
  const [line] = await once(child.stdout, "data");
  t.equal(String(line), "accepted 10000\n");
  child.kill("SIGKILL");
  await once(child, "exit");
  const database = new AuditDatabase(file, t.fail);
  t.teardown(() => database.close());
  t.equal(database.counts().stored, 10_000);
});

t.test("killed at any moment: every record a listener was told of is there", async (t) => {
  for (const after of [1, 2_001]) {
    const file = join(t.testdir(), "audits.db");
    const child = burst(file, "5000", "told");
    t.teardown(() => child.kill("SIGKILL"));
    let text = "";
    let killed = false;
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
      text += chunk;
      if (!killed && text.length / 27 >= after) {
        killed = true;
        child.kill("SIGKILL");
      }
    });
    await once(child, "close");
    const told = text.split("\n").filter((line) => line.length === 26);
    t.ok(told.length >= after);
    const database = new AuditDatabase(file, t.fail);
    const stored = new Set(
      [...database.query({ limit: 10_000 })].map((record): string => JSON.parse(record).id),
    );
    database.close();
    t.same(
      told.filter((id) => !stored.has(id)),
      [],
      `killed after ${told.length} of ${stored.size}`,
    );
  }
});
