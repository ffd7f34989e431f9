import { existsSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import t from "tap";
import { ManualClock } from "../../src/clock.ts";
import { ModelDatabase } from "../../src/model/database.ts";
import { ModelStore } from "../../src/model/store.ts";

const KEY = "sha256:aa11aa11";

/** A database as version 1 of the schema wrote it, with one model. */
function writeVersion1(file: string): void {
  const database = new DatabaseSync(file);
  const seen =
    "first_seen INTEGER NOT NULL, last_seen INTEGER NOT NULL, count INTEGER NOT NULL, container TEXT NOT NULL";
  database.exec(`
    CREATE TABLE model (
      key TEXT PRIMARY KEY, image TEXT NOT NULL,
      state TEXT NOT NULL CHECK (state IN ('learning', 'active', 'manual', 'archived')),
      lively_state TEXT NOT NULL CHECK (lively_state IN ('learning', 'active', 'manual')),
      learned_time REAL NOT NULL, created_at INTEGER NOT NULL, changed_at INTEGER NOT NULL,
      active_since INTEGER, archived_at INTEGER, dropped INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE name (
      model TEXT NOT NULL REFERENCES model ON DELETE CASCADE,
      name TEXT NOT NULL, ${seen}, PRIMARY KEY (model, name)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE outbound_port (
      model TEXT NOT NULL REFERENCES model ON DELETE CASCADE,
      protocol INTEGER NOT NULL, port INTEGER NOT NULL, ${seen}, PRIMARY KEY (model, protocol, port)
    ) STRICT, WITHOUT ROWID;
    PRAGMA user_version = 1;
    INSERT INTO model VALUES ('${KEY}', 'nginx', 'active', 'active', 3600000, 1000, 2000, 2000, NULL, 3);
    INSERT INTO name VALUES ('${KEY}', 'api.example.com', 1000, 1500, 7, 'c1');
    INSERT INTO outbound_port VALUES ('${KEY}', 6, 443, 1000, 1500, 8, 'c1');
  `);
  database.close();
}

t.test("a database of version 1 is taken over with all that it holds, once", async (t) => {
  const file = `${t.testdir()}/models.db`;
  writeVersion1(file);
  const notices: string[] = [];
  const read = () => {
    const database = new ModelDatabase(file, new ManualClock(5_000), (message) => notices.push(message));
    const [model] = database.load();
    database.close();
    return model;
  };
  // The second time it is a database of version 2.
  for (const time of ["first", "second"]) {
    const model = read();
    t.match(
      model?.record,
      { key: KEY, state: "active", learnedTime: 3_600_000, dropped: 3, locked: false, extension: 0 },
      time,
    );
    t.equal(model?.record.trialUntil, null, time);
    t.equal(model?.record.predecessor, null, time);
    const entries = model?.entries();
    const seen = { firstSeen: 1_000, lastSeen: 1_500, container: "c1" };
    t.strictSame(entries?.names, [{ name: "api.example.com", ...seen, count: 7 }], time);
    t.strictSame(entries?.ports, [{ protocol: 6, port: 443, ...seen, count: 8 }], time);
    t.strictSame([entries?.listening, entries?.destinations], [[], []], time);
  }
  t.strictSame(notices, []);
});

t.test("what version 2 adds can be written to a database of version 1", async (t) => {
  const file = `${t.testdir()}/models.db`;
  writeVersion1(file);
  const open = () =>
    new ModelStore({
      file,
      clock: new ManualClock(5_000),
      learningTime: 3_600_000,
      onChange: () => undefined,
      onNotice: (message) => t.fail(message),
    });
  const store = open();
  store.change(KEY, { action: "lock" });
  store.close();
  const again = open();
  t.match(again.show(KEY), { locked: true, trust: "settled", names: 1, outboundPorts: 1 });
  again.close();
});

t.test("a database in memory leaves no file", async (t) => {
  const database = new ModelDatabase(":memory:", new ManualClock(5_000), (message) => t.fail(message));
  t.strictSame(database.load(), []);
  database.close();
  t.equal(existsSync(":memory:"), false);
});
