import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { DatabaseSync } from "node:sqlite";
import t from "tap";
import { ManualClock } from "../../src/clock.ts";
import { ARCHIVE_TIME, type ModelSnapshot } from "../../src/model/model.ts";
import { FLUSH_INTERVAL, ModelStore } from "../../src/model/store.ts";
import type { ContainerFacts, Observation } from "../../src/policy/types.ts";

const HOUR = 3_600_000;
const NGINX = "sha256:aa11aa11";
const REDIS = "sha256:bb22bb22";

function container(id: string, imageDigest = NGINX, image = "docker.io/library/nginx:1.27"): ContainerFacts {
  return { id, name: id, image, imageDigest, namespace: null, labels: {} };
}

function name(text: string, time: number, model = NGINX): Observation {
  return { kind: "name", model, container: "c1", name: text, time };
}

function port(number: number, time: number, model = NGINX): Observation {
  return { kind: "outboundPort", model, container: "c1", protocol: 6, port: number, time };
}

interface World {
  readonly store: ModelStore;
  readonly told: ModelSnapshot[];
  readonly notices: string[];
}

function open(file: string, clock: ManualClock, learningTime = HOUR): World {
  const told: ModelSnapshot[] = [];
  const notices: string[] = [];
  const store = new ModelStore({
    file,
    clock,
    learningTime,
    onChange: (snapshot) => told.push(snapshot),
    onNotice: (message) => notices.push(message),
  });
  return { store, told, notices };
}

function states({ store }: World): string[] {
  return store.snapshot().map(({ key, state }) => `${key} ${state}`);
}

t.test(
  "run time of all containers of a digest adds up, and the end of learning is told at once",
  async (t) => {
    const clock = new ManualClock(1_000_000);
    const world = open(`${t.testdir()}/models.db`, clock);
    const { store, told } = world;
    store.running([container("c1"), container("c2"), container("c3", REDIS, "redis")]);
    t.strictSame(
      told.map(({ key, state }) => `${key} ${state}`),
      [`${NGINX} learning`, `${REDIS} learning`],
    );
    told.length = 0;
    store.observe([name("a.example", clock.now()), port(443, clock.now())]);
    clock.advance(HOUR / 2 - 1000);
    t.strictSame(states(world), [`${NGINX} learning`, `${REDIS} learning`]);
    told.length = 0;
    clock.advance(1000);
    t.strictSame(told, [
      {
        key: NGINX,
        state: "active",
        learning: false,
        names: ["a.example"],
        outboundPorts: [{ protocol: 6, port: 443 }],
        listeningPorts: [],
      },
    ]);
    store.running([container("c3", REDIS, "redis")]);
    clock.advance(HOUR / 2);
    t.strictSame(states(world), [`${NGINX} archived`, `${REDIS} active`]);
    store.close();
  },
);

t.test("run time between two calls counts for those that ran", async (t) => {
  const clock = new ManualClock(0);
  const { store } = open(`${t.testdir()}/models.db`, clock);
  store.running([container("c1")]);
  clock.advance(300);
  store.running([container("c1"), container("c2")]);
  clock.advance(300);
  store.running([]);
  clock.advance(5000);
  t.equal(store.list()[0]?.learnedTime, 900);
  t.match(store.list()[0], { containers: 0, state: "archived" });
  store.running([container("c1")]);
  t.match(store.list()[0], { containers: 1, state: "learning", learnedTime: 900 });
  store.close();
});

t.test("new entries are told with the next flush, and only then", async (t) => {
  const clock = new ManualClock(0);
  const { store, told } = open(`${t.testdir()}/models.db`, clock);
  store.running([container("c1")]);
  told.length = 0;
  store.observe([
    name("a.example", 1),
    name("b.example", 1),
    name("a.example", 2),
    name("x.example", 2, "sha256:none"),
  ]);
  t.equal(told.length, 0);
  clock.advance(FLUSH_INTERVAL);
  t.strictSame(
    told.map(({ names }) => names),
    [["a.example", "b.example"]],
  );
  store.observe([name("a.example", 3)]);
  clock.advance(10 * FLUSH_INTERVAL);
  t.equal(told.length, 1, "a sighting of a known entry is no news");
  store.close();
});

t.test("a restart finds everything again", async (t) => {
  const file = `${t.testdir()}/state/models.db`;
  const clock = new ManualClock(5000);
  const first = open(file, clock, 2000);
  t.equal(statSync(file).mode & 0o777, 0o600);
  first.store.running([container("c1"), { ...container("c2", REDIS, "redis"), namespace: "shop" }]);
  first.store.observe([name("a.example", 5001), name("a.example", 5002), port(443, 5001)]);
  clock.advance(1500);
  first.store.close();

  const second = open(file, clock, 2000);
  t.strictSame(states(second), [`${NGINX} learning`, `${REDIS}@shop learning`]);
  t.strictSame(second.store.show(NGINX), {
    key: NGINX,
    image: "docker.io/library/nginx:1.27",
    state: "learning",
    learnedTime: 1500,
    locked: false,
    learningTime: 2000,
    trialUntil: null,
    predecessor: null,
    saturation: null,
    trust: "learning",
    containers: 0,
    names: 1,
    outboundPorts: 1,
    listeningPorts: 0,
    internalDestinations: 0,
    dropped: 0,
    createdAt: 5000,
    changedAt: 5000,
    entries: {
      names: [{ name: "a.example", firstSeen: 5001, lastSeen: 5002, count: 2, container: "c1" }],
      outboundPorts: [{ protocol: 6, port: 443, firstSeen: 5001, lastSeen: 5001, count: 1, container: "c1" }],
      listeningPorts: [],
      internalDestinations: [],
    },
  });
  second.store.running([container("c1")]);
  clock.advance(500);
  second.store.running([]);
  second.store.close();
  const third = open(file, clock, 2000);
  t.strictSame(states(third), [`${NGINX} archived`, `${REDIS}@shop archived`]);
  third.store.running([container("c1")]);
  t.strictSame(
    third.told.map(({ state }) => state),
    ["active"],
    "revived as what it was",
  );
  third.store.close();
  t.strictSame(second.notices, []);
});

t.test("an archived model is removed after a day of watching, and learned anew after that", async (t) => {
  const file = `${t.testdir()}/models.db`;
  const clock = new ManualClock(0);
  const first = open(file, clock);
  first.store.running([container("c1")]);
  first.store.observe([name("a.example", 1)]);
  first.store.running([]);
  clock.advance(FLUSH_INTERVAL);
  first.store.close();
  clock.advance(10 * ARCHIVE_TIME);
  const second = open(file, clock);
  clock.advance(ARCHIVE_TIME - 1000);
  t.strictSame(states(second), [`${NGINX} archived`], "time while nobody watched does not count");
  clock.advance(1000);
  t.strictSame(states(second), []);
  second.store.running([container("c1")]);
  t.match(second.store.snapshot(), [{ state: "learning", names: [] }]);
  second.store.close();
  const third = open(file, clock);
  t.match(third.store.snapshot(), [{ state: "learning", names: [] }]);
  third.store.close();
});

t.test("show finds a model by key, digest or image", async (t) => {
  const clock = new ManualClock(0);
  const { store } = open(`${t.testdir()}/models.db`, clock);
  store.running([container("c1"), container("c2", REDIS, "registry.example:5000/team/redis:7")]);
  const find = (wanted: string): string | undefined => store.show(wanted)?.key;
  for (const wanted of [NGINX, "aa11aa", "sha256:aa11aa", "nginx", "nginx:1.27", "docker.io/library/nginx"]) {
    t.equal(find(wanted), NGINX, wanted);
  }
  for (const wanted of ["registry.example:5000/team/redis", "registry.example:5000/team/redis:7"]) {
    t.equal(find(wanted), REDIS, wanted);
  }
  for (const wanted of ["", "nginx:1.28", "ngin", "redis", "aa", "library/nginx"])
    t.equal(find(wanted), undefined, wanted);
  clock.advance(1000);
  store.running([container("c3", "sha256:cc33cc33")]);
  t.equal(find("nginx"), "sha256:cc33cc33", "the one in use");
  t.strictSame(
    store.list().map(({ key }) => key),
    [NGINX, "sha256:cc33cc33", REDIS],
  );
  store.close();
});

t.test("a container without a digest teaches nothing", async (t) => {
  const { store } = open(`${t.testdir()}/models.db`, new ManualClock(0));
  store.running([container("c1", "")]);
  t.equal(store.keyOf(container("c1", "")), null);
  t.equal(store.keyOf(container("c1")), NGINX);
  t.strictSame(store.list(), []);
  store.close();
});

t.test("a killed process loses the latest batch at most", async (t) => {
  const file = `${t.testdir()}/models.db`;
  const teacher = new URL("./teacher.ts", import.meta.url).pathname;
  const child = spawn(process.execPath, [teacher, file], { stdio: ["ignore", "pipe", "inherit"] });
  const exited = once(child, "exit");
  let saved = 0;
  for await (const line of createInterface({ input: child.stdout })) {
    saved = Number(line);
    if (saved > 100) break;
  }
  child.kill("SIGKILL");
  await exited;
  const { store, notices } = open(file, new ManualClock(Date.now()));
  const { names, state } = store.snapshot()[0]!;
  t.equal(state, "learning");
  t.ok(names.length >= saved, `${names.length} of at least ${saved}`);
  t.strictSame(
    new Set(names),
    new Set(Array.from({ length: names.length }, (_, number) => `n${number}.example`)),
    "and what is there is whole",
  );
  t.strictSame(notices, []);
  store.close();
});

t.test("a file that is no database, or a damaged one, is set aside", async (t) => {
  const clock = new ManualClock(Date.UTC(2026, 0, 1));
  const folder = t.testdir({ "none.db": "this is no database, and far too short for one".repeat(100) });
  const none = open(`${folder}/none.db`, clock);
  t.match(none.notices, [
    /none\.db` is damaged .* set aside as .*none\.db\.damaged-2026-01-01T000000\.000Z`/,
  ]);
  none.store.running([container("c1")]);
  none.store.close();
  t.match(open(`${folder}/none.db`, clock), { notices: [] });
  t.ok(readdirSync(folder).includes("none.db.damaged-2026-01-01T000000.000Z"));

  const file = `${folder}/models.db`;
  const first = open(file, clock);
  first.store.running([container("c1")]);
  first.store.observe(Array.from({ length: 5000 }, (_, number) => name(`n${number}.example`, clock.now())));
  first.store.close();
  const bytes = readFileSync(file);
  bytes.fill(0x5a, 4096);
  writeFileSync(file, bytes);
  const second = open(file, clock);
  t.match(second.notices, [/is damaged/]);
  t.strictSame(second.store.snapshot(), []);
  second.store.running([container("c1")]);
  second.store.close();
  t.strictSame(states(open(file, clock)), [`${NGINX} learning`]);
});

t.test("a write that fails is told once, and made good later", async (t) => {
  const file = `${t.testdir()}/models.db`;
  const clock = new ManualClock(0);
  const { store, notices } = open(file, clock);
  // A table that is gone makes SQLite fail like a full disk does: the transaction is undone, the file is sound.
  const other = new DatabaseSync(file);
  other.exec("ALTER TABLE name RENAME TO gone");
  store.running([container("c1")]);
  store.observe([name("a.example", 1)]);
  clock.advance(5 * FLUSH_INTERVAL);
  t.match(notices, [/cannot be written .* kept in memory/]);
  other.exec("ALTER TABLE gone RENAME TO name");
  other.close();
  clock.advance(FLUSH_INTERVAL);
  t.match(notices, [/./, /written to .* again/]);
  store.close();
  t.match(open(file, clock).store.snapshot(), [{ names: ["a.example"] }]);
});

t.test("a file that cannot be written or is of a newer version is an error", async (t) => {
  const folder = t.testdir({ file: "" });
  t.throws(() => open(`${folder}/file/models.db`, new ManualClock()), {
    code: "TM_STORE",
    message: /cannot use model database/,
  });
  mkdirSync(`${folder}/models.db`);
  t.throws(() => open(`${folder}/models.db`, new ManualClock()), { code: "TM_STORE" });
  const newer = new DatabaseSync(`${folder}/newer.db`);
  newer.exec("PRAGMA user_version = 99");
  newer.close();
  t.throws(() => open(`${folder}/newer.db`, new ManualClock()), {
    code: "TM_STORE",
    message: /newer version/,
  });
});
