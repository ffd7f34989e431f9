/** What stays of lists that feeds.yaml does not name any more: as long as somebody may want it, and whatever is not ours. */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { removeLeftovers } from "../../src/feed/leftovers.ts";
import { lockFeeds } from "../../src/feed/lock.ts";
import { bodiesIn, rollbackFeeds } from "../../src/feed/update.ts";
import { HOUR, World } from "./update-world.ts";

/** What fetching leaves beside a body. */
function validators(body: string): string {
  const sha256 = createHash("sha256").update(body).digest("hex");
  return JSON.stringify({ source: "http https://feeds.example/", url: "", sha256, size: body.length });
}

/** Puts a list there as fetching does. */
function keep(bodies: string, name: string, body: string): void {
  mkdirSync(bodies, { recursive: true });
  writeFileSync(join(bodies, name), body);
  writeFileSync(join(bodies, `${name}.json`), validators(body));
}

const ONE = "  - { name: one, url: 'https://feeds.example/1', kind: domain }\n";
const TWO = "  - { name: two, url: 'https://feeds.example/2', kind: domain }\n";

t.test("a feed that is taken out keeps its list while a generation has it, and no longer", async (t) => {
  const world = new World(t, ONE + TWO);
  const bodies = bodiesIn(world.folder);
  const there = () => readdirSync(bodies).sort();
  world.served.set("one", "first.example\n").set("two", "second.example\n");
  await world.update();
  keep(bodies, "one", "first.example\n");
  keep(bodies, "two", "second.example\n");
  world.write(ONE);
  await world.update();
  t.strictSame(there(), ["one", "one.json", "two", "two.json"], "the generation before has it");
  t.ok(rollbackFeeds(world.folder));
  world.clock.advance(HOUR);
  await world.update();
  t.ok(existsSync(join(bodies, "two")), "which may be in force again");
  for (const body of ["third.example\n", "fourth.example\n"]) {
    world.served.set("one", body);
    world.clock.advance(HOUR);
    await world.update();
  }
  t.strictSame(there(), ["one", "one.json"]);

  await t.test("one that is off, and one that is named again, keep theirs", async (t) => {
    keep(bodies, "two", "second.example\n");
    world.write(ONE + TWO.replace("kind", "enabled: false, kind"));
    await world.update();
    t.ok(existsSync(join(bodies, "two.json")));
  });
  await t.test("one that is a file of this host now does not", async (t) => {
    world.write(`${ONE}  - { name: two, path: own.txt, kind: domain }\n`);
    for (const body of ["fifth.example\n", "sixth.example\n"]) {
      world.served.set("one", body);
      world.clock.advance(HOUR);
      await world.update();
    }
    t.strictSame(there(), ["one", "one.json"]);
  });
  await t.test("nothing is removed while somebody fetches", async (t) => {
    keep(bodies, "new", "new.example\n");
    const unlock = lockFeeds(world.folder, 0, "fetching");
    await world.update({ fetch: "none" });
    t.ok(existsSync(join(bodies, "new")));
    unlock();
    await world.update({ fetch: "none" });
    t.notOk(existsSync(join(bodies, "new")));
  });
});

t.test("what is not ours stays", async (t) => {
  const uuid = "5a3b1f6c-0c1e-4d6a-9f3e-0123456789ab";
  const folder = t.testdir({
    bodies: {
      "by-hand": "evil.example\n",
      "notes.txt": "",
      changed: "another\n",
      "changed.json": validators("what was fetched\n"),
      "other.json": "{}",
      gone: "x\n",
      "gone.json": validators("x\n"),
      "lonely.json": validators("a body that is gone already\n"),
      ".gone.0123abcd.tmp": "",
      ".kept.json.0123abcd.tmp": "",
      kept: "y\n",
      "kept.json": validators("y\n"),
      events: { "manifest.json": "{}", [`${uuid}.json`]: "{}" },
      "events.json": validators("{}"),
      shared: { "manifest.json": "{}", [`${uuid}.json`]: "{}", "README.md": "mine" },
      "shared.json": validators("{}"),
      "linked.json": validators("outside"),
    },
    outside: "outside",
  });
  const bodies = join(folder, "bodies");
  symlinkSync(join(folder, "outside"), join(bodies, "linked"));
  t.strictSame(removeLeftovers(bodies, new Set(["kept"])).sort(), ["events", "gone", "lonely"]);
  t.strictSame(
    readdirSync(bodies).sort(),
    [
      ...[".kept.json.0123abcd.tmp", "by-hand", "changed", "changed.json", "kept", "kept.json"],
      ...["linked", "linked.json", "notes.txt", "other.json", "shared", "shared.json"],
    ].sort(),
  );
  t.strictSame(readdirSync(join(bodies, "shared")), ["README.md"]);
  t.ok(existsSync(join(folder, "outside")));
  t.strictSame(removeLeftovers(join(folder, "nowhere"), new Set()), []);
});
