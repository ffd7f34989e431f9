/** What is wrong with feeds, since when, and who was told. */
import t from "tap";
import { isStale } from "../../src/feed/look.ts";
import { readRecords, writeRecords } from "../../src/feed/record.ts";
import { HOUR, names, World } from "./update-world.ts";

const ONE = "  - { name: one, url: 'https://feeds.example/n', kind: domain }\n";
const SOURCE = { url: "https://feeds.example/n", enabled: true, interval: HOUR };

t.test("a feed that never gave anything grows stale as well", async (t) => {
  const world = new World(t, ONE);
  world.clock.advance(1000 * HOUR);
  const stale = () => isStale(SOURCE, readRecords(world.folder).one!, world.clock.now());
  await world.update({ fetch: "none" });
  t.equal(stale(), false, "a fresh host");
  world.clock.advance(24 * HOUR);
  await world.update();
  t.match(readRecords(world.folder).one, { state: "failed", goodAt: null, wantedSince: 1000 * HOUR });
  t.equal(stale(), false);
  world.clock.advance(1);
  t.equal(stale(), true);
  t.equal(
    isStale({ ...SOURCE, interval: 24 * HOUR }, readRecords(world.folder).one!, world.clock.now()),
    false,
  );

  world.write(ONE.replace("kind", "enabled: false, kind"));
  await world.update();
  world.clock.advance(100 * HOUR);
  world.write(ONE);
  await world.update();
  t.equal(stale(), false, "one that was off for long is wanted since it is on");
  world.served.set("one", "evil.example\n");
  world.clock.advance(25 * HOUR);
  t.equal(stale(), true);
  await world.update();
  t.equal(stale(), false, "and no more once it gave something");
});

t.test("records of an older version, and a clock that was set back", async (t) => {
  const world = new World(t, ONE);
  world.clock.advance(1000 * HOUR);
  world.served.set("one", "evil.example\n");
  await world.update();
  const { wantedSince: _since, told: _told, ...older } = readRecords(world.folder).one!;
  writeRecords(world.folder, { one: older as never });
  world.clock.advance(30 * HOUR);
  await world.update({ fetch: "none" });
  t.equal(
    isStale(SOURCE, readRecords(world.folder).one!, world.clock.now()),
    true,
    "it stays as stale as it is",
  );
  const record = { ...readRecords(world.folder).one!, goodAt: null, wantedSince: 5000 * HOUR };
  writeRecords(world.folder, { one: record });
  await world.update({ fetch: "none" });
  t.equal(readRecords(world.folder).one?.wantedSince, world.clock.now());
});

t.test("what was told is no news, until it was well in between or grew worse", async (t) => {
  const world = new World(t, ONE);
  const news = async (tells = true, fetch: "all" | "none" = "all") => {
    world.clock.advance(HOUR);
    return (await world.update({ tells, fetch })).news.length;
  };
  t.equal(await news(false), 1, "nobody was told");
  t.equal(await news(), 1);
  t.equal(await news(), 0, "the same again");
  world.served.set("one", "# nothing\n");
  t.equal(await news(), 0, "neither is another way to give nothing");
  for (let hour = 0; hour < 21; hour++) t.equal(await news(), 0);
  t.equal(await news(), 1, "stale");
  t.equal(await news(), 0);
  world.served.set("one", names(100));
  t.equal(await news(), 0, "well");
  world.served.set("one", names(3));
  t.equal(await news(), 1, "quarantined");
  t.equal(await news(), 0, "a wait is no news");
  world.served.set("one", names(4));
  t.equal(await news(), 0, "whatever waits");
  world.served.set("one", new Error("no route to host"));
  t.equal(await news(), 1, "but then it fails");
  t.equal(await news(true, "none"), 0);
});

t.test("who is told of one feed is told of no other", async (t) => {
  const world = new World(t, `${ONE}${ONE.replace("one", "two")}`);
  t.strictSame((await world.update({ tells: true, only: ["one"] })).news, ["one"]);
  t.strictSame((await world.update({ tells: true })).news, ["two"]);
});
