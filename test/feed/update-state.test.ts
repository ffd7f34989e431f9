/** What is remembered between updates: what a clock, an operator or a broken disk does to it. */
import { execFileSync, spawn } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, unlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import t from "tap";
import { ManualClock } from "../../src/clock.ts";
import { readGeneration } from "../../src/feed/artefact.ts";
import { lockFeeds } from "../../src/feed/lock.ts";
import { NEW_RECORD, readRecords, writeRecords } from "../../src/feed/record.ts";
import { approveFeed, bodiesIn, rollbackFeeds } from "../../src/feed/update.ts";
import { HOUR, lists, names, World } from "./update-world.ts";

const ONE = "  - { name: one, url: 'https://feeds.example/n', kind: domain }\n";
const inFolder = (world: World, which?: "previous"): string[] =>
  ["first", "second"].filter(
    (name) => lists(readGeneration(world.folder, which)!.feeds, `${name}.example`).length > 0,
  );

/** Two lists came, one after the other. */
async function twice(world: World): Promise<void> {
  world.served.set("one", "first.example\n");
  await world.update();
  world.clock.advance(HOUR);
  world.served.set("one", "second.example\n");
  await world.update();
}

t.test(
  "a damaged generation is replaced though no list changed, and never becomes the older one",
  async (t) => {
    const world = new World(t, ONE);
    await twice(world);
    const file = join(world.folder, "current.feeds");
    writeFileSync(file, readFileSync(file).subarray(0, 100));
    // Of the one before: the list is another, so that a new generation is due in any case.
    const mended = await world.update({ fetch: "none" });
    t.equal(mended.warnings.length, 1);
    t.strictSame(inFolder(world), ["second"]);
    t.strictSame(inFolder(world, "previous"), ["first"], "the damaged one is not kept");

    // Both hold the same lists: nothing to compile, but the damage has to go.
    rollbackFeeds(world.folder);
    writeFileSync(file, "");
    writeFileSync(join(bodiesIn(world.folder), "one"), "second.example\n");
    const again = await world.update({ fetch: "none" });
    t.equal(again.changed, true);
    t.strictSame((await world.update({ fetch: "none" })).warnings, [], "nothing to warn of any more");
    unlinkSync(file);
    t.equal((await world.update({ fetch: "none" })).changed, true, "one that was removed is written again");
    t.ok(readGeneration(world.folder));
  },
);

t.test("there is a way back to other lists, whatever was written in between", async (t) => {
  const world = new World(t, ONE);
  await twice(world);
  world.write(`# a comment\n${ONE}`);
  t.equal((await world.update()).changed, true);
  t.equal((await world.update({ fetch: "none" })).changed, false);
  world.write(ONE.replace("kind: domain", "kind: domain, effect: block"));
  t.equal((await world.update()).changed, true, "an effect is no list");
  unlinkSync(join(bodiesIn(world.folder), "one"));
  await world.update({ fetch: "none" });
  t.strictSame(inFolder(world), ["second"], "what was read stays");
  t.strictSame(rollbackFeeds(world.folder).feeds, ["one"]);
  t.strictSame(inFolder(world), ["first"]);
});

t.test("rolled back and forth, and switched off and on again", async (t) => {
  const world = new World(t, ONE);
  await twice(world);
  rollbackFeeds(world.folder);
  t.match((await world.update()).records.one, { state: "held" });
  rollbackFeeds(world.folder);
  t.strictSame(inFolder(world), ["second"]);
  t.match((await world.update()).records.one, { state: "inUse", message: null });
  rollbackFeeds(world.folder);
  world.write(ONE.replace("kind", "enabled: false, kind"));
  const off = await world.update();
  t.strictSame(lists(off.feeds, "second.example"), []);
  world.write(ONE);
  const on = await world.update();
  t.match(on.records.one, { state: "held" }, "what was rolled back stays out");
  t.strictSame(lists(on.feeds, "second.example"), []);
  approveFeed(world, "one");
  t.strictSame(lists((await world.update({ fetch: "none" })).feeds, "second.example"), ["one"]);
});

t.test("a rollback that could not be noted did not happen", async (t) => {
  const world = new World(t, ONE);
  await twice(world);
  mkdirSync(join(world.folder, "records.json.new"));
  t.throws(() => rollbackFeeds(world.folder));
  t.strictSame(inFolder(world), ["second"]);
});

t.test("another URL is asked at once, and so is one whose body is gone", async (t) => {
  const world = new World(t, ONE.replace("kind", "interval: 30d, kind"));
  world.served.set("one", "first.example\n");
  await world.update({ fetch: "due" });
  await world.update({ fetch: "due" });
  t.equal(world.fetched.length, 1);
  world.write(ONE.replace("kind", "interval: 30d, kind").replace("/n", "/other"));
  await world.update({ fetch: "none" });
  world.served.set("one", "second.example\n");
  t.strictSame(lists((await world.update({ fetch: "due" })).feeds, "second.example"), ["one"]);
  await world.update({ fetch: "due" });
  t.equal(world.fetched.length, 2);
  rmSync(bodiesIn(world.folder), { recursive: true });
  t.match((await world.update({ fetch: "due" })).records.one, { state: "inUse" });
  t.equal(world.fetched.length, 3);
  world.write(ONE);
  await world.update({ fetch: "due" });
  t.equal(world.fetched.length, 4, "an interval that became shorter counts at once");
});

t.test("a server that asked to be left alone is, for a day at most", async (t) => {
  const world = new World(t, ONE.replace("kind", "interval: 5m, kind"));
  const asks = async (retryAfter: number): Promise<number> => {
    const { records } = await world.update({
      fetchLists: async () =>
        new Map([["one", { kind: "failed" as const, message: "answered 429", retryAfter }]]),
    });
    return records.one!.dueAt - world.clock.now();
  };
  t.equal(await asks(0), 5 * 60_000);
  t.equal(await asks(240 * HOUR), 24 * HOUR);
  t.equal(await asks(3 * HOUR), 3 * HOUR);
  world.clock.advance(2 * HOUR);
  await world.update({ fetch: "due" });
  t.strictSame(world.fetched, [], "not before that");
  world.clock.advance(HOUR);
  await world.update({ fetch: "due" });
  t.strictSame(world.fetched, [["one"]]);
});

t.test("a clock that was set back", async (t) => {
  const world = new World(t, ONE);
  world.clock.advance(10_000 * HOUR);
  world.served.set("one", "first.example\n");
  await world.update({ fetch: "due" });
  const behind = new ManualClock(HOUR);
  world.served.set("one", new Error("no route to host"));
  const { records } = await world.update({ fetch: "due", clock: behind });
  t.equal(world.fetched.length, 2, "it is not waited for the time when it would have been due");
  t.match(records.one, { goodAt: HOUR, dueAt: HOUR + 5 * 60_000 }, "nor for that when it would be stale");
});

t.test("what a source answers that is no list is no good answer", async (t) => {
  const world = new World(t, `${ONE}  - { name: two, url: 'https://feeds.example/m', kind: domain }\n`);
  world.served.set("one", "first.example\n").set("two", "first.example\n");
  const { records } = await world.update();
  const good = records.one!.goodAt;
  world.clock.advance(HOUR);
  world.served.set("one", '{"error":"rate limited"}\n').set("two", "# nothing today\n");
  const bad = await world.update();
  t.match(bad.records.one, { state: "failed", goodAt: good, message: /its only line is not an entry/ });
  t.match(bad.records.two, { state: "refused", goodAt: good });
  t.strictSame(lists(bad.feeds, "first.example"), ["one", "two"]);

  writeFileSync(join(bodiesIn(world.folder), "one"), "first.example\n");
  t.match(
    (await world.update({ fetch: "none" })).records.one,
    { state: "inUse", message: null },
    "a list that can be read again is in use, though nobody fetched",
  );
});

t.test("a list that waits and then cannot be read has failed", async (t) => {
  const world = new World(t, "  - { name: own, path: own.txt, kind: domain, hold: always }\n");
  const file = join(dirname(world.manifest), "own.txt");
  writeFileSync(file, "first.example\n");
  t.match((await world.update()).records.own, { state: "held" });
  unlinkSync(file);
  t.match((await world.update()).records.own, { state: "failed", message: /does not exist/ });
});

t.test("a list that waited and recovered has changed nothing", async (t) => {
  const world = new World(t, ONE);
  world.served.set("one", names(100));
  await world.update();
  world.served.set("one", names(1));
  world.clock.advance(HOUR);
  t.match((await world.update()).records.one, { state: "quarantined", changes: { removed: 99 } });
  world.served.set("one", names(100));
  world.clock.advance(HOUR);
  t.match((await world.update()).records.one, { state: "inUse", changes: null });
});

t.test("without records, a quarantine begins now and not at the epoch", async (t) => {
  const world = new World(t, ONE);
  world.clock.advance(500_000 * HOUR);
  world.served.set("one", names(100));
  await world.update();
  writeFileSync(join(world.folder, "records.json"), "{ cut");
  writeFileSync(join(bodiesIn(world.folder), "one"), names(1));
  const { records } = await world.update({ fetch: "none" });
  t.equal(records.one?.standing.smallSince, 500_000 * HOUR);
});

t.test("a manifest that breaks, or goes away, changes nothing", async (t) => {
  const world = new World(t, ONE);
  await twice(world);
  world.write("  - { name: one, kind: domain }\n");
  await t.rejects(world.update(), { code: "TM_FEED", message: /needs `path`/ });
  t.throws(() => approveFeed(world, "one"), { code: "TM_FEED" });
  unlinkSync(world.manifest);
  await t.rejects(world.update(), { code: "TM_FEED", message: /cannot be read \(ENOENT\)/ });
  mkdirSync(world.manifest);
  await t.rejects(world.update(), { code: "TM_FEED", message: /cannot be read \(EISDIR\)/ });
  t.strictSame(inFolder(world), ["second"]);
  t.strictSame(rollbackFeeds(world.folder).feeds, ["one"], "a way back needs no manifest");
});

t.test("the manifest is read under the lock: who waited for it does not put back an older one", async (t) => {
  const world = new World(t, "  - { name: one, kind: domain }\n");
  await t.rejects(world.update(), { code: "TM_FEED" });
  rmSync(world.folder, { recursive: true, force: true });
  writeFileSync(world.folder, "");
  await t.rejects(world.update(), { code: "TM_STORE" }, "nothing was read of it yet");
});

t.test("while servers answer, one can approve, roll back and start", async (t) => {
  const world = new World(t, ONE);
  await twice(world);
  let busy: unknown;
  const { records } = await world.update({
    fetchLists: async () => {
      t.strictSame(rollbackFeeds(world.folder).feeds, ["one"]);
      t.match((await world.update({ fetch: "none" })).records.one, { state: "held" });
      approveFeed(world, "one");
      rollbackFeeds(world.folder);
      t.strictSame(rollbackFeeds(world.folder).feeds, ["one"]);
      try {
        lockFeeds(world.folder, 10, "fetching");
      } catch (error) {
        busy = error;
      }
      return new Map([["one", { kind: "unchanged" as const }]]);
    },
  });
  t.match(busy, { code: "TM_FEED_BUSY" }, "but not fetch");
  t.match(records.one, { state: "held" }, "what was rolled back meanwhile stays out");
  t.strictSame(inFolder(world), ["first"]);
});

t.test("what was fetched of another source than the manifest names by then is no look at that", async (t) => {
  const world = new World(t, ONE);
  const { records } = await world.update({
    fetchLists: async () => {
      world.write(ONE.replace("/n", "/other"));
      return new Map([["one", { kind: "failed" as const, message: "gone", retryAfter: null }]]);
    },
  });
  t.match(records.one, { source: null, failures: 0, state: "notFetched" });
});

t.test("a file of popular names that holds none is told", async (t) => {
  const world = new World(t, ONE);
  writeFileSync(join(dirname(world.manifest), "popular.txt"), '"rank","name"\n"1","popular.example"\n');
  world.served.set("one", "popular.example\n");
  t.match((await world.update()).warnings, [/popular\.txt` holds no popular name: line 1: /]);
});

t.test("killed at any point of updates and rollbacks, what is left is whole and goes on", async (t) => {
  const world = new World(t, "  - { name: one, path: own.txt, kind: domain }\n");
  const folder = dirname(world.manifest);
  const script = fileURLToPath(new URL("update-for-ever.ts", import.meta.url));
  for (let round = 0; round < 8; round++) {
    const child = spawn(process.execPath, [script, folder], { stdio: ["ignore", "pipe", "inherit"] });
    // Another number of rounds each time, and from there on to wherever the kill falls.
    await new Promise<void>((resolve) => {
      let done = 0;
      child.stdout.on("data", (bytes: Buffer) => {
        done += bytes.length;
        if (done > round + 2) resolve();
      });
    });
    child.kill("SIGKILL");
    await new Promise((resolve) => child.once("exit", resolve));
    const statuses = readGeneration(world.folder)?.feeds.statuses;
    t.match(statuses, [{ name: "one", entries: 2000, error: null }], `round ${round}: a whole generation`);
    t.ok(readGeneration(world.folder, "previous"));
    t.ok(readRecords(world.folder).one, "and whole records");
    writeFileSync(join(folder, "own.txt"), `first.example\nround${round}.example\n`);
    const next = await world.update();
    t.match(next, { warnings: [], records: { one: { state: "inUse", message: null } } });
    t.strictSame(inFolder(world), ["first"]);
  }
});

t.test("a folder that is a file is no question of rights", async (t) => {
  const file = join(t.testdir({ state: "" }), "state");
  t.throws(() => lockFeeds(join(file, "feeds"), 10), { code: "TM_STORE", message: /ENOTDIR/ });
  if (process.getuid?.() === 0) return;
  chmodSync(dirname(file), 0o500);
  t.throws(() => lockFeeds(join(dirname(file), "feeds"), 10), {
    code: "TM_NOT_PERMITTED",
    message: /as root/,
  });
});

/** Code of the error that `call`, of a module of src/feed, ends with where no file may have more than one block. */
function withoutRoom(module: string, call: string): string {
  const file = fileURLToPath(new URL(`../../src/feed/${module}`, import.meta.url));
  const script = `
    const all = await import(${JSON.stringify(file)});
    try { ${call} } catch (error) { console.log(error.code); }`;
  // The first write ends at the limit, the next one fails.
  const shell = 'ulimit -f 1; exec "$0" --input-type=module -e "$1"';
  return execFileSync("sh", ["-c", shell, process.execPath, script], { encoding: "utf8" }).trim();
}

t.test("records and generations are whole, or as they were, when there is no room", async (t) => {
  const folder = t.testdir();
  writeRecords(folder, { one: NEW_RECORD });
  const path = JSON.stringify(folder);
  const many = `Object.fromEntries(Array.from({ length: 100 }, (_, index) => ["feed" + index, all.NEW_RECORD]))`;
  t.equal(withoutRoom("record.ts", `all.writeRecords(${path}, ${many})`), "TM_STORE");
  t.strictSame(Object.keys(readRecords(folder)), ["one"]);
  const large = "new SharedArrayBuffer(100_000)";
  const feeds = `{ sources: [], statuses: [], domains: ${large}, addresses: ${large} }`;
  const generation = `{ builtAt: 0, manifest: "", feeds: ${feeds} }`;
  t.equal(withoutRoom("artefact.ts", `all.writeGeneration(${path}, ${generation})`), "TM_STORE");
  t.notOk(existsSync(join(folder, "new.feeds")));
});
