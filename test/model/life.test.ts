import fc from "fast-check";
import t from "tap";
import { ARCHIVE_TIME, Model } from "../../src/model/model.ts";
import { exportModel, importEntries, modelFile } from "../../src/model/transfer.ts";
import { container, DAY, HOUR, NEW, OLD, world } from "./world.ts";

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

t.test("what is new after an update is told while it is learned", async (t) => {
  const w = world(t);
  w.store.running([container()]);
  w.look(OLD, "a.shop.example");
  w.store.running([container(), container(NEW, "docker.io/library/shop:2")]);
  w.look(NEW, "early.shop.example");
  t.strictSame(w.news, [], "the model before has not learned to its end");
  w.clock.advance(HOUR);
  const third = "sha256:333333333333";
  w.store.running([container(), container(third, "docker.io/library/shop:3")]);
  w.look(third, "a.shop.example", "b.shop.example", "b.shop.example");
  w.look(OLD, "c.shop.example");
  t.match(
    w.news,
    [{ kind: "name", model: third, name: "b.shop.example" }],
    "once, and not what was taken over",
  );
  w.look(third, ...Array.from({ length: 60 }, (_, index) => `w.site-${index.toString(36)}x.example`));
  t.equal(w.news.length, 50);
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

t.test("a key as `models list` prints it finds its model, also in a namespace", async (t) => {
  const w = world(t);
  w.store.running([
    { ...container(), namespace: "shop" },
    { ...container(), id: "c2", namespace: "test" },
  ]);
  t.equal(w.store.show("aa11aa@shop")?.key, `${OLD}@shop`);
  t.equal(w.store.show("sha256:aa11aa@test")?.key, `${OLD}@test`);
  t.equal(w.store.show("aa11aa@other"), undefined);
  t.throws(() => w.store.show("aa11aa"), {
    code: "TM_USAGE",
    message: /fits several models: `sha256:aa11aa11@/,
  });
});

t.test("whatever a model learned, its file is taken, with all of it", async (t) => {
  const label = fc.oneof(
    fc.constantFrom("www", "shard-7", "\\042", "\\255x", "_sip", "a3f9c2d47b"),
    fc.stringMatching(/^[a-z0-9_-]{1,12}$/),
  );
  const base = fc.constantFrom(
    "example.com",
    "bucket.s3.amazonaws.com",
    "me.github.io",
    "cluster.local",
    "co.uk",
  );
  const names = fc.array(
    fc.tuple(fc.array(label, { maxLength: 3 }), base).map(([labels, end]) => [...labels, end].join(".")),
    { minLength: 1, maxLength: 80 },
  );
  fc.assert(
    fc.property(names, (some) => {
      const model = Model.begin(OLD, "shop", 1_000);
      for (const name of some)
        model.observe({ kind: "name", model: OLD, container: "c1", name, time: 2_000 });
      const file = modelFile.parse(JSON.parse(JSON.stringify(exportModel(model, 3_000))));
      t.strictSame(importEntries(file), model.entries());
    }),
  );
});

t.test("what stands for no known names is not expanded", async (t) => {
  const w = world(t);
  w.store.running([container()]);
  w.look(OLD, "www.example.org", ...Array.from({ length: 6 }, (_, index) => `s${index}.example.com`));
  const file = modelFile.parse(JSON.parse(JSON.stringify(w.store.export(OLD))));
  const names = file.names.map(({ members: _, ...entry }) => entry);
  w.store.import({ ...file, names });
  w.store.change(OLD, { action: "unlock" });
  for (const [entry, message] of [
    ["*.example.com", /forget it instead/],
    ["www.example.org", /is no wildcard/],
  ] as const)
    t.throws(() => w.store.change(OLD, { action: "expand", entry }), { code: "TM_USAGE", message });
  t.equal(w.show().names, 2);
});

t.test("what was on its way when a model ceased to learn is told at once", async (t) => {
  const w = world(t);
  w.store.running([container()]);
  const time = w.clock.now();
  w.clock.advance(500);
  w.store.change(OLD, { action: "stop" });
  w.told.length = 0;
  const observed = { kind: "name", model: OLD, container: "c1", time } as const;
  w.store.observe([
    { ...observed, name: "a.shop.example" },
    { ...observed, name: "b.shop.example" },
  ]);
  t.match(w.told, [{ state: "active", names: ["a.shop.example", "b.shop.example"] }]);
  t.equal(w.told.length, 1);
});
