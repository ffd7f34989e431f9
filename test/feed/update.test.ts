/** An update from feeds.yaml to a generation on the disk, with servers and time of the test's own. */
import { spawn } from "node:child_process";
import { readdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { readGeneration, writeGeneration } from "../../src/feed/artefact.ts";
import { openFeeds } from "../../src/feed/index.ts";
import { noFeeds } from "../../src/feed/load.ts";
import { lockFeeds } from "../../src/feed/lock.ts";
import { readRecords, writeRecords } from "../../src/feed/record.ts";
import { approveFeed, rollbackFeeds } from "../../src/feed/update.ts";
import { HOUR, lists, names, World } from "./update-world.ts";

/** The bytes with some bits of one turned around. */
function flipped(at: number, bits = 1): (bytes: Buffer) => Buffer {
  return (bytes) => {
    bytes.writeUInt8(bytes.readUInt8(at) ^ bits, at);
    return bytes;
  };
}

t.test("from the server to the disk, guarded", async (t) => {
  const world = new World(
    t,
    "  - { name: names, url: 'https://feeds.example/n', kind: domain }\n" +
      "  - { name: addresses, url: 'https://feeds.example/a', kind: address }\n" +
      "  - { name: gone, url: 'https://feeds.example/g', kind: domain }\n",
  );
  world.served.set("names", "evil.example\npopular.example\nshop.example\nbad.popular.example\n");
  world.served.set("addresses", "203.0.113.9\n10.1.2.3\n198.51.100.0/24\n");
  const { changed, feeds, records } = await world.update();
  t.equal(changed, true);
  t.strictSame(lists(feeds, "x.evil.example"), ["names"]);
  t.strictSame(lists(feeds, "popular.example"), [], "a popular name is left out");
  t.strictSame(lists(feeds, "www.shop.example"), [], "and what stands above one");
  t.strictSame(lists(feeds, "bad.popular.example"), ["names"], "not what is below");
  const index = openFeeds(feeds);
  t.equal(index.address(Uint8Array.of(203, 0, 113, 9), 0, 4).length, 1);
  t.equal(index.address(Uint8Array.of(10, 1, 2, 3), 0, 4).length, 0, "private");
  t.equal(index.address(Uint8Array.of(198, 51, 100, 7), 0, 4).length, 0, "of this host");
  t.equal(index.address(Uint8Array.of(198, 51, 100, 8), 0, 4).length, 1, "its neighbour");
  t.match(records.names, { state: "inUse", guarded: { removed: 2 }, changes: { added: 2, removed: 0 } });
  t.match(records.gone, { state: "failed", message: /status 404/, failures: 1, goodAt: null });
  t.match(readGeneration(world.folder)?.feeds.statuses, [{ entries: 2 }, {}, { entries: 0 }]);
  t.equal((await world.update()).changed, false, "the same lists make no new generation");
  world.served.set("names", new Error("no route to host"));
  const away = await world.update();
  t.match(away.records.names, { state: "failed", message: "no route to host", failures: 1 });
  t.strictSame(lists(away.feeds, "x.evil.example"), ["names"], "what was fetched before stays");
  t.match(
    (await world.update({ fetch: "none" })).records.names,
    { state: "failed" },
    "until it is fetched again",
  );
});

t.test("a list that shrinks waits in quarantine, and is released or approved", async (t) => {
  const world = new World(
    t,
    "  - { name: one, url: 'https://feeds.example/n', kind: domain, quarantine: 6h }\n",
  );
  world.served.set("one", names(100));
  await world.update();
  world.served.set("one", names(3));
  world.clock.advance(HOUR);
  const shrunk = await world.update();
  t.equal(shrunk.changed, false);
  t.match(shrunk.records.one, { state: "quarantined", message: /97 % fewer|100 entries/ });
  t.strictSame(lists(shrunk.feeds, "n50.bad.example"), ["one"], "the list before stays");
  t.match((await world.update({ fetch: "none" })).records.one?.standing.smallSeen, 1, "no look, no count");
  for (let look = 0; look < 7; look++) {
    world.clock.advance(HOUR);
    await world.update();
  }
  t.equal(readGeneration(world.folder)?.feeds.statuses[0]?.entries, 3, "released after six hours");

  world.served.set("one", names(100));
  await world.update();
  world.served.set("one", names(2));
  await world.update();
  approveFeed(world, "one");
  t.match((await world.update({ fetch: "none" })).records.one, { state: "inUse", message: null });
  t.equal(readGeneration(world.folder)?.feeds.statuses[0]?.entries, 2, "approved");
  t.throws(() => approveFeed(world, "one"), { code: "TM_NOT_FOUND" });
});

t.test("what newly hits a learned name is told, and held where the feed says so", async (t) => {
  const world = new World(
    t,
    "  - { name: one, url: 'https://feeds.example/n', kind: domain, hold: learned }\n",
  );
  world.served.set("one", "evil.example\n");
  await world.update();
  world.learned = [{ model: "sha256:1", name: "api.partner.example" }];
  world.served.set("one", "evil.example\npartner.example\n");
  const { records, changed } = await world.update();
  t.equal(changed, false);
  t.match(records.one, {
    state: "held",
    message: /newly hits a learned name/,
    changes: { added: 1, newlyHit: [{ name: "api.partner.example", entry: ".partner.example" }] },
  });
});

t.test("rollback: the older generation is in force, and what was left stays out", async (t) => {
  const world = new World(t, "  - { name: one, url: 'https://feeds.example/n', kind: domain }\n");
  t.throws(() => rollbackFeeds(world.folder), { code: "TM_NOT_FOUND" });
  world.served.set("one", "first.example\n");
  await world.update();
  world.served.set("one", "second.example\n");
  world.clock.advance(HOUR);
  await world.update();
  t.strictSame(rollbackFeeds(world.folder).feeds, ["one"]);
  t.strictSame(lists(readGeneration(world.folder)!.feeds, "first.example"), ["one"]);
  const again = await world.update();
  t.match(again.records.one, { state: "held" }, "the same list does not come back by itself");
  t.strictSame(lists(again.feeds, "first.example"), ["one"]);
  world.served.set("one", "third.example\n");
  t.strictSame(lists((await world.update()).feeds, "third.example"), ["one"], "another list does");
});

t.test("due: what is fetched when, and how soon a failure is tried again", async (t) => {
  const world = new World(
    t,
    "  - { name: hourly, url: 'https://feeds.example/h', kind: domain }\n" +
      "  - { name: daily, url: 'https://feeds.example/d', kind: domain, interval: 1d }\n",
  );
  world.served.set("hourly", "a.example.org\n");
  await world.update({ fetch: "due" });
  t.strictSame(world.fetched.at(-1), ["hourly", "daily"]);
  world.clock.advance(6 * 60_000);
  await world.update({ fetch: "due" });
  t.strictSame(world.fetched.at(-1), ["daily"], "the one that failed");
  world.clock.advance(HOUR);
  await world.update({ fetch: "due" });
  t.strictSame(world.fetched.at(-1), ["hourly", "daily"]);
  t.equal(world.fetched.length, 3);
  await world.update({ fetch: "none" });
  t.equal(world.fetched.length, 3);
  await world.update({ only: ["daily"] });
  t.strictSame(world.fetched.at(-1), ["daily"]);
  await t.rejects(world.update({ only: ["none"] }), { code: "TM_NOT_FOUND" });
});

t.test("a generation that is cut, corrupt or newer is refused, and the one before serves", async (t) => {
  const world = new World(t, "  - { name: one, url: 'https://feeds.example/n', kind: domain }\n");
  world.served.set("one", "first.example\n");
  await world.update();
  world.served.set("one", "second.example\n");
  await world.update();
  const file = join(world.folder, "current.feeds");
  const good = readFileSync(file);
  const damage: [string, (bytes: Buffer) => Buffer, RegExp][] = [
    ["cut", (bytes) => bytes.subarray(0, 500), /500 bytes long/],
    ["empty", () => Buffer.alloc(0), /truncated/],
    ["newer", flipped(4, 98), /layout version 99/],
    ["description", flipped(70), /corrupt/],
    ["domains", flipped(good.readUInt32LE(20) + 200), /corrupt/],
    ["addresses", flipped(good.readUInt32LE(28) + 20), /corrupt/],
    ["other", flipped(0), /no artefact/],
  ];
  for (const [what, change, message] of damage) {
    writeFileSync(file, change(Buffer.from(good)));
    t.throws(() => readGeneration(world.folder), { code: "TM_FEED", message }, what);
  }
  world.served.set("one", new Error("no route to host"));
  const { feeds, warnings, changed } = await world.update();
  t.match(warnings, [/no artefact/]);
  t.equal(changed, true, "a good one takes its place");
  t.strictSame(lists(feeds, "second.example"), ["one"], "from the body as fetched");
  truncateSync(file, 10);
  truncateSync(join(world.folder, "previous.feeds"), 10);
  t.equal((await world.update()).warnings.length, 2);
  t.ok(readGeneration(world.folder));
});

t.test("builds are the same for the same lists", async (t) => {
  const one = new World(t, "  - { name: one, url: 'https://feeds.example/n', kind: domain }\n");
  one.served.set("one", names(1000));
  const first = await one.update();
  const bytes = Buffer.from(first.feeds.domains);
  one.served.set("one", names(10));
  await one.update();
  approveFeed(one, "one");
  await one.update({ fetch: "none" });
  one.served.set("one", names(1000));
  const again = await one.update();
  t.strictSame(Buffer.from(again.feeds.domains), bytes);
});

t.test("two updates at once: the second waits, and gives up", async (t) => {
  const folder = join(t.testdir({}), "feeds");
  const unlock = lockFeeds(folder);
  t.throws(() => lockFeeds(folder, 10), { code: "TM_FEED_BUSY" });
  unlock();
  lockFeeds(folder, 10)();
  writeRecords(folder, {});
  t.strictSame(readRecords(folder), {});
  writeFileSync(join(folder, "records.json"), "{ cut");
  t.strictSame(readRecords(folder), {}, "nothing that a look does not tell again");
});

t.test("killed at any point, the folder holds a whole generation", async (t) => {
  const folder = join(t.testdir({}), "feeds");
  const seed = new Uint8Array(8).fill(1);
  writeGeneration(folder, { feeds: noFeeds(seed), builtAt: 0, manifest: "" });
  const script = join(import.meta.dirname, "write-generations.ts");
  for (let round = 0; round < 12; round++) {
    const child = spawn(process.execPath, [script, folder], { stdio: ["ignore", "pipe", "inherit"] });
    // Some writes happen first, as many as the round says, so that the kill falls into another one each time.
    await new Promise<void>((resolve) => {
      let lines = 0;
      child.stdout.on("data", (bytes: Buffer) => {
        lines += bytes.length;
        if (lines > round * 3) resolve();
      });
    });
    child.kill("SIGKILL");
    await new Promise((resolve) => child.once("exit", resolve));
    const current = readGeneration(folder);
    const previous = readGeneration(folder, "previous");
    t.ok(current !== null && previous !== null, `round ${round}: both generations are whole`);
    t.ok((current?.builtAt ?? 0) >= (previous?.builtAt ?? 0), "in their order");
    lockFeeds(folder, 10)();
  }
  t.ok(readdirSync(folder).length <= 5, "nothing piles up");
});
