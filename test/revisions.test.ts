/** What is in force in the daemon, with files of the test's own and a data thread that is a function. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { systemClock } from "../src/clock.ts";
import { openFeeds } from "../src/feed/index.ts";
import { updateHere } from "../src/intelligence.ts";
import { nameToWire } from "../src/name.ts";
import { Revisions } from "../src/revisions.ts";
import type { Snapshot } from "../src/thread.ts";

t.test("feeds come into force, and stay when what is new cannot be had", async (t) => {
  const folder = t.testdir({
    "feeds.yaml": "version: 1\nfeeds:\n  - { name: own, path: own.txt, kind: domain }\n",
    "policy.yaml": "version: 1\nrules: []\n",
    "own.txt": "first.example\n",
  });
  const places = {
    configFile: join(folder, "tidesman.yaml"),
    policyFile: join(folder, "policy.yaml"),
    feedsFile: join(folder, "feeds.yaml"),
    stateDirectory: join(folder, "state"),
    runtimeDirectory: join(folder, "run"),
  };
  writeFileSync(places.configFile, "{}\n");
  const installed: Snapshot[] = [];
  const warnings: string[] = [];
  let broken = false;
  const revisions = await Revisions.first({
    places,
    host: "h1",
    clock: systemClock,
    install: async (snapshot) => {
      if (broken) throw new Error("the thread does not answer");
      installed.push(snapshot);
    },
    warn: (message) => void warnings.push(message),
  });
  const lists = (name: string): number =>
    openFeeds(revisions.snapshot.feeds).domain(nameToWire(name)!, 0).length;
  t.strictSame(warnings, []);
  t.equal(lists("first.example"), 1, "compiled at the first start");

  await revisions.loadFeeds();
  t.equal(installed.length, 0, "the same feeds are no revision");
  writeFileSync(join(folder, "own.txt"), "second.example\n");
  await updateHere(places, { fetch: "none" });
  broken = true;
  await t.rejects(revisions.loadFeeds(), { message: /does not answer/ });
  broken = false;
  t.match(await revisions.loadFeeds(), [{ name: "own", state: "inUse", entries: 1 }]);
  t.equal(
    installed.at(-1)?.feeds,
    revisions.snapshot.feeds,
    "what could not be installed is installed later",
  );
  t.equal(lists("second.example"), 1);

  writeFileSync(places.feedsFile, "version: 1\nfeeds:\n  - { name: own, kind: domain }\n");
  await t.rejects(revisions.updateFeeds("none"), { code: "TM_FEED", message: /needs `path`/ });
  t.equal(lists("second.example"), 1, "a manifest that breaks changes nothing");
  t.match(revisions.feedReports(), [{ name: "own", entries: 1 }]);

  writeFileSync(places.feedsFile, "version: 1\nfeeds: []\n");
  await revisions.updateFeeds("none");
  t.equal(lists("second.example"), 0, "a feed that was removed is out of force");
  writeFileSync(places.feedsFile, "version: 1\nfeed: []\n");
  writeFileSync(places.policyFile, "version: 1\nrules: [{ name: r, dns: {} }]\n");
  t.match(await revisions.reloadAll(), [/^the running feeds stay: .*feeds\.yaml:2:1: feed: /s]);
  t.equal(revisions.read.policy.rules.length, 1, "feeds that are wrong do not hold up the rules");
  writeFileSync(places.policyFile, "version: 2\n");
  t.match(await revisions.reloadAll(), [
    /^the running feeds stay/,
    /^the running policy stays: .*policy\.yaml:1:10/s,
  ]);
  writeFileSync(places.feedsFile, "version: 1\nfeeds: []\n");
  mkdirSync(join(folder, "state", "feeds", "records.json.new"));
  await t.rejects(revisions.updateFeeds("none"), { code: "TM_STORE" });
});
