import t, { type Test } from "tap";
import { ManualClock } from "../../src/clock.ts";
import { ARCHIVE_TIME, type ModelSnapshot } from "../../src/model/model.ts";
import { type ModelDetail, ModelStore } from "../../src/model/store.ts";
import { modelFile } from "../../src/model/transfer.ts";
import type { ContainerFacts, Observation } from "../../src/policy/types.ts";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const OLD = "sha256:aa11aa11";
const NEW = "sha256:bb22bb22";

function container(imageDigest = OLD, image = "docker.io/library/shop:1"): ContainerFacts {
  return { id: `c-${imageDigest}`, name: "c", image, imageDigest, namespace: null, labels: {} };
}

interface World {
  readonly clock: ManualClock;
  readonly told: ModelSnapshot[];
  readonly removed: string[];
  store: ModelStore;
  /** Looks names up, now. */
  look(model: string, ...names: string[]): void;
  /** `state`, with ` learning` behind it where observations are learned. */
  state(model?: string): string;
  show(model?: string): ModelDetail;
  restart(meanwhile?: () => void): void;
}

function world(t: Test): World {
  const clock = new ManualClock(1_000_000);
  const told: ModelSnapshot[] = [];
  const removed: string[] = [];
  const file = `${t.testdir()}/models.db`;
  const open = (): ModelStore =>
    new ModelStore({
      file,
      clock,
      learningTime: HOUR,
      trialTime: DAY,
      onChange: (snapshot) => told.push(snapshot),
      onRemove: (key) => removed.push(key),
      onNotice: (message) => t.fail(message),
    });
  const w: World = {
    clock,
    told,
    removed,
    store: open(),
    look(model, ...names) {
      const time = clock.now();
      w.store.observe(
        names.map((name): Observation => ({ kind: "name", model, container: "c1", name, time })),
      );
    },
    state(model = OLD) {
      const found = w.store.snapshot().find(({ key }) => key === model);
      return found === undefined ? "gone" : `${found.state}${found.learning ? " learning" : ""}`;
    },
    show(model = OLD) {
      const detail = w.store.show(model);
      if (detail === undefined) throw new Error(`no model ${model}`);
      return detail;
    },
    restart(meanwhile) {
      w.store.close();
      meanwhile?.();
      w.store = open();
    },
  };
  t.teardown(() => w.store.close());
  return w;
}

t.test("on trial, what is new leads back to learning; afterwards it is refused", async (t) => {
  const w = world(t);
  w.store.running([container()]);
  w.look(OLD, "a.shop.example");
  w.clock.advance(HOUR);
  t.equal(w.state(), "active learning");
  w.look(OLD, "a.shop.example");
  t.equal(w.state(), "active learning", "what is known changes nothing");
  w.told.length = 0;
  w.look(OLD, "b.shop.example");
  t.equal(w.state(), "learning learning");
  t.match(w.told, [{ state: "learning" }], "told at once");
  w.clock.advance(HOUR);
  t.equal(w.state(), "active learning");
  w.restart();
  t.equal(w.state(), "active learning", "a restart ends no trial");
  w.store.running([container()]);
  w.clock.advance(DAY);
  t.equal(w.state(), "active");
  t.equal(w.show().trust, "settled");
  w.look(OLD, "c.shop.example");
  t.equal(w.state(), "active");
  t.equal(w.show().names, 2);
});

t.test("manual learns until told to stop; extend and relearn learn for so long", async (t) => {
  const w = world(t);
  w.store.running([container()]);
  w.store.change(OLD, { action: "manual" });
  w.clock.advance(5 * HOUR);
  t.equal(w.state(), "manual learning");
  w.store.change(OLD, { action: "stop" });
  t.equal(w.state(), "active");
  w.store.change(OLD, { action: "extend", time: 2 * HOUR });
  w.clock.advance(2 * HOUR - 1000);
  t.equal(w.state(), "learning learning");
  w.clock.advance(1000);
  t.equal(w.state(), "active learning");
  w.look(OLD, "a.shop.example");
  w.store.change(OLD, { action: "relearn", afresh: true });
  t.match(w.show(), { state: "learning", names: 0, learnedTime: 0, learningTime: HOUR });
  w.clock.advance(HOUR);
  t.equal(w.state(), "active learning");
});

t.test("a locked model is not taught, not archived, not removed, until it is unlocked", async (t) => {
  const w = world(t);
  w.store.running([container()]);
  w.look(OLD, "a.shop.example");
  w.store.change(OLD, { action: "lock" });
  t.equal(w.state(), "active");
  w.look(OLD, "b.shop.example");
  w.store.running([]);
  w.clock.advance(3 * ARCHIVE_TIME);
  w.restart();
  t.match(w.show(), { state: "active", locked: true, names: 1, trust: "settled" });
  t.throws(() => w.store.change(OLD, { action: "relearn", afresh: false }), { code: "TM_USAGE" });
  w.store.change(OLD, { action: "unlock" });
  t.equal(w.state(), "archived");
  w.clock.advance(ARCHIVE_TIME);
  t.equal(w.state(), "gone");
});

t.test("a new image of a repository starts from its predecessor, and what deviates says so", async (t) => {
  const w = world(t);
  w.store.running([container()]);
  w.look(OLD, "a.shop.example", "b.shop.example");
  w.clock.advance(HOUR);
  w.store.running([container(NEW, "docker.io/library/shop:2")]);
  t.match(w.show(NEW), { predecessor: OLD, names: 2, state: "learning" });
  w.look(NEW, "a.shop.example", "c.shop.example");
  w.restart();
  t.strictSame(
    w.show(NEW).entries.names.map((one) => [one.name, one.count, one.inherited === true]),
    [
      ["a.shop.example", 1, true],
      ["b.shop.example", 0, true],
      ["c.shop.example", 1, false],
    ],
  );
  const deviates = [{ kind: "model", match: "none", state: "active" }] as const;
  t.match(w.store.updateReason(deviates, container(NEW)), {
    message: `new since image update from ${OLD}`,
  });
  t.equal(w.store.updateReason(deviates, container()), null, "the first image has no predecessor");
  w.clock.advance(8 * DAY);
  t.equal(w.store.updateReason(deviates, container(NEW)), null, "not for ever");
});

t.test("saturation falls while nothing new comes", async (t) => {
  const w = world(t);
  w.store.running([container()]);
  for (const name of ["a", "b", "c", "d"]) w.look(OLD, `${name}.shop.example`);
  w.clock.advance(10 * 60_000);
  t.equal(w.show().trust, "learning");
  const early = w.show().saturation ?? 0;
  w.clock.advance(HOUR - 10 * 60_000);
  t.ok((w.show().saturation ?? early) < early);
  w.clock.advance(2 * HOUR);
  t.equal(w.show().trust, "settled");
});

t.test("entries are forgotten and expanded, and stay so over a restart", async (t) => {
  const w = world(t);
  w.store.running([container()]);
  w.look(OLD, ...Array.from({ length: 6 }, (_, index) => `shard-${index}.example.com`), "www.example.org");
  t.strictSame(
    w.show().entries.names.map(({ name }) => name),
    ["*.example.com", "www.example.org"],
  );
  w.store.change(OLD, { action: "expand", entry: "*.example.com" });
  w.store.change(OLD, { action: "forget", entry: "www.example.org" });
  w.look(OLD, "shard-6.example.com");
  w.restart();
  t.equal(w.show().names, 7);
  w.store.running([container()]);
  w.look(OLD, "shard-7.example.com");
  t.equal(w.show().names, 8, "an expanded parent is left apart");
  t.throws(() => w.store.change(OLD, { action: "forget", entry: "www.example.org" }), {
    code: "TM_NOT_FOUND",
  });
});

t.test("a model as a file comes back locked; what is never learned is refused", async (t) => {
  const w = world(t);
  w.store.running([container()]);
  w.look(OLD, "a.shop.example");
  const file = modelFile.parse(JSON.parse(JSON.stringify(w.store.export(OLD))));
  const other = world(t);
  other.store.import(file);
  t.match(other.show(), { locked: true, state: "active", names: 1 });
  const [entry] = file.names;
  if (entry === undefined) throw new Error("no name was exported");
  for (const name of [
    "*.com",
    "*.co.uk",
    "*.s3.amazonaws.com",
    "*.amazonaws.com",
    "github.io",
    "A.example",
  ]) {
    const bad = { ...file, key: NEW, names: [{ ...entry, name }] };
    t.throws(() => other.store.import(bad), { code: "TM_USAGE" }, name);
  }
  t.equal(other.state(NEW), "gone");
});

t.test("a view is the same object, and follows its model", async (t) => {
  const w = world(t);
  w.store.running([container()]);
  const view = w.store.view(OLD);
  t.equal(w.store.view(OLD), view);
  w.store.observe([
    { kind: "listeningPort", model: OLD, container: "c1", protocol: 6, port: 8080, time: w.clock.now() },
  ]);
  t.equal(w.store.view(OLD), view);
  t.equal(view?.listeningPort(6, 8080), true);
  t.equal(w.store.view("sha256:none"), null);
});

t.test("a thousand models that are flooded stay bounded", async (t) => {
  const w = world(t);
  const keys = Array.from({ length: 1_000 }, (_, index) => `sha256:${(index + 0x100000).toString(16)}`);
  w.store.running(keys.map((key) => container(key, `registry.example/${key.slice(7)}:1`)));
  for (const key of keys) {
    w.look(
      key,
      ...Array.from({ length: 200 }, (_, index) => `f${index}a7.cdn.example.com`),
      ...Array.from({ length: 200 }, (_, index) => `bucket-${index}.s3.amazonaws.com`),
    );
  }
  const most = Math.max(...w.store.list().map(({ names }) => names));
  t.ok(most <= 65, `${most} names`);
  t.equal(w.store.list()[0]?.dropped, 136, "buckets past the bound");
});

t.test("a model that is removed is told, once", async (t) => {
  const w = world(t);
  w.store.running([container()]);
  w.store.running([]);
  w.clock.advance(ARCHIVE_TIME - 1000);
  t.strictSame(w.removed, []);
  w.clock.advance(HOUR);
  t.strictSame(w.removed, [OLD]);
});

t.test("a clock that is set ends neither a trial nor an archived model before its time", async (t) => {
  const w = world(t);
  w.store.running([container(), container(NEW)]);
  w.look(OLD, "a.shop.example");
  w.clock.advance(HOUR);
  w.store.running([container()]);
  // The hardware clock was wrong, and the network sets it right.
  w.clock.set(Date.UTC(2026, 10, 24));
  w.clock.advance(HOUR);
  t.equal(w.state(), "active learning");
  t.equal(w.state(NEW), "archived");
  w.look(OLD, "b.shop.example");
  t.equal(w.state(), "learning learning", "what is new still leads back");
  w.clock.advance(HOUR);
  w.clock.set(1_000);
  w.clock.advance(HOUR);
  w.look(OLD, "c.shop.example");
  t.equal(w.state(), "learning learning", "also by a clock that was set back");
  w.clock.advance(HOUR);
  w.clock.advance(DAY);
  t.equal(w.state(), "active", "and the trial is as long as it was to be");
  t.equal(w.state(NEW), "gone");
});

t.test("a trial that began by a wrong clock lasts a trial's time after a restart", async (t) => {
  const w = world(t);
  w.store.running([container()]);
  w.clock.set(Date.UTC(2126, 0, 1));
  w.clock.advance(HOUR);
  w.restart(() => w.clock.set(Date.UTC(2026, 10, 24)));
  w.store.running([container()]);
  w.clock.advance(DAY - 1000);
  t.equal(w.state(), "active learning");
  w.clock.advance(1000);
  t.equal(w.state(), "active");
});

t.test("what an operator expanded stays apart in the models that begin from it", async (t) => {
  const w = world(t);
  w.store.running([container()]);
  const shards = Array.from({ length: 6 }, (_, index) => `shard-${index}.example.com`);
  w.look(OLD, ...shards);
  w.store.change(OLD, { action: "expand", entry: "*.example.com" });
  w.store.running([container(NEW, "docker.io/library/shop:2")]);
  w.look(NEW, "shard-7.example.com", "shard-8.example.com");
  t.equal(w.show(NEW).names, 8);
});

t.test("an entry may be written as people write names; of a covered one the wildcard is named", async (t) => {
  const w = world(t);
  w.store.running([container()]);
  w.look(OLD, "www.example.org", ...Array.from({ length: 6 }, (_, index) => `s${index}.example.com`));
  t.throws(() => w.store.change(OLD, { action: "forget", entry: "s1.example.com" }), {
    code: "TM_NOT_FOUND",
    message: /`\*\.example\.com` covers it/,
  });
  w.store.change(OLD, { action: "forget", entry: "WWW.Example.org." });
  t.strictSame(
    w.show().entries.names.map(({ name }) => name),
    ["*.example.com"],
  );
});

t.test("a model from a file takes the place of another with all that its wildcards stand for", async (t) => {
  const w = world(t);
  w.store.running([container()]);
  w.look(OLD, ...Array.from({ length: 6 }, (_, index) => `s${index}.example.com`));
  const file = modelFile.parse(JSON.parse(JSON.stringify(w.store.export(OLD))));
  w.clock.advance(1000);
  const names = file.names.map((entry) => ({ ...entry, members: ["other.example.com"] }));
  w.store.import({ ...file, names });
  w.restart();
  t.strictSame(w.show().entries.names[0]?.members, ["other.example.com"]);
});

t.test("no flood of tenants or of odd labels, at any depth", async (t) => {
  const w = world(t);
  w.store.running([container()]);
  w.look(OLD, ...Array.from({ length: 200 }, (_, index) => `data.bucket-${index}.s3.amazonaws.com`));
  t.match(w.show(), { names: 64, dropped: 136 });
  w.look(OLD, "more.bucket-0.s3.amazonaws.com");
  t.equal(w.show().names, 65, "a tenant that is known has room");
  const w2 = world(t);
  w2.store.running([container()]);
  w2.look(OLD, ...Array.from({ length: 200 }, (_, index) => `\\000x${index}.cdn.example.com`));
  t.equal(w2.show().names, 1);
});
