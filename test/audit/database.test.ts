import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import t from "tap";
import { Aggregator } from "../../src/audit/aggregate.ts";
import { AuditDatabase, type AuditRow } from "../../src/audit/database.ts";
import { identifierFactory } from "../../src/audit/identifier.ts";
import type { Finding } from "../../src/policy/types.ts";
import { lookup, START, web } from "./finding.ts";

const FOREVER = { age: Number.MAX_SAFE_INTEGER, size: Number.MAX_SAFE_INTEGER };
const silent = (message: string): never => {
  throw new Error(message);
};

function rows(findings: readonly Finding[]): AuditRow[] {
  const fold = { after: 0, within: 0, summaries: 0 };
  const aggregator = new Aggregator({
    host: "h1",
    window: 1,
    limit: 1,
    fold,
    identifier: identifierFactory(),
  });
  return findings.map((finding) => ({
    record: aggregator.add(finding, finding.container === null ? null : web).record,
    isNew: true,
  }));
}

t.test("what was committed is there again after reopening, updates included", async (t) => {
  const file = join(t.testdir(), "state", "audits.db");
  const first = new AuditDatabase(file, silent);
  const [row] = rows([lookup("evil.example")]);
  first.commit([row!]);
  first.commit([{ record: { ...row!.record, count: 9 }, isNew: false }]);
  t.equal(first.counts().stored, 1);
  first.close();
  t.equal(statSync(file).mode & 0o777, 0o600);
  const second = new AuditDatabase(file, silent);
  t.teardown(() => second.close());
  t.same(
    second.query({}).map((text) => JSON.parse(text)),
    [{ ...row!.record, count: 9 }],
  );
  t.match(second.counts(), { stored: 1, oldest: START });
});

t.test("filters", async (t) => {
  const database = new AuditDatabase(join(t.testdir(), "audits.db"), silent);
  t.teardown(() => database.close());
  const made = rows([
    lookup("a.example", START),
    lookup("b.example", START + 1_000, { effect: "alert", attackType: "unexpectedDNS" }),
    lookup("c.example", START + 2_000),
    lookup("host", START + 3_000, { container: null, attackType: "rulesetChanged" }),
  ]);
  database.commit(made);
  const names = (filter: Parameters<AuditDatabase["query"]>[0]): string[] =>
    database.query(filter).map((text) => JSON.parse(text).dns.name);
  t.same(names({}), ["a.example", "b.example", "c.example", "host"]);
  t.same(names({ limit: 2 }), ["c.example", "host"], "the newest, in ascending order");
  t.same(names({ after: "", limit: 2 }), ["a.example", "b.example"]);
  t.same(names({ after: made[1]!.record.id, limit: 1 }), ["c.example"]);
  t.same(names({ since: START + 1_000, until: START + 2_000 }), ["b.example", "c.example"]);
  t.same(names({ effect: "alert" }), ["b.example"]);
  t.same(names({ attackType: "rulesetChanged" }), ["host"]);
  t.same(names({ container: "web", limit: 1 }), ["c.example"]);
  t.same(names({ container: web.id.slice(0, 12), limit: 1 }), ["c.example"]);
  t.same(names({ container: "c0ff%" }), []);
  t.same(names({ container: "we" }), []);
});

t.test("a fold is found by each container that it names", async (t) => {
  const database = new AuditDatabase(join(t.testdir(), "audits.db"), silent);
  t.teardown(() => database.close());
  const [plain, fold] = rows([lookup("a.example"), lookup("b.example")]).map(({ record }) => record);
  const containers = [
    { id: "deadbeef00", name: "web-2", count: 1 },
    { id: "feedface00", name: 'web-3"fold":{', count: 3 },
  ];
  database.commit([
    { record: plain!, isNew: true },
    { record: { ...fold!, count: 4, fold: { containers, continues: null } }, isNew: true },
  ]);
  const found = (container: string): string[] =>
    database.query({ container }).map((text) => JSON.parse(text).dns.name);
  t.same(found("web"), ["a.example", "b.example"]);
  for (const name of ["web-2", 'web-3"fold":{', "deadbeef00", "feedfa"]) t.same(found(name), ["b.example"]);
  for (const name of ["web-", "feedfb", "b.example"]) t.same(found(name), []);
});

t.test("an update of a record that is gone writes it anew", async (t) => {
  const database = new AuditDatabase(join(t.testdir(), "audits.db"), silent);
  t.teardown(() => database.close());
  const [row] = rows([lookup("a.example")]);
  database.commit([{ record: row!.record, isNew: false }]);
  t.equal(database.counts().stored, 1);
});

t.test("a failed batch leaves nothing behind", async (t) => {
  const database = new AuditDatabase(join(t.testdir(), "audits.db"), silent);
  t.teardown(() => database.close());
  const [row] = rows([lookup("a.example")]);
  t.throws(() => database.commit([row!, row!]), { code: "TM_STORE" });
  t.same(database.query({}), []);
  t.equal(database.counts().stored, 0);
});

t.test("retention by age", async (t) => {
  const database = new AuditDatabase(join(t.testdir(), "audits.db"), silent);
  t.teardown(() => database.close());
  database.commit(rows([lookup("old.example", START), lookup("new.example", START + 10_000)]));
  t.equal(database.prune(START + 5_000, { ...FOREVER, age: 5_000 }), 0);
  t.equal(database.prune(START + 5_001, { ...FOREVER, age: 5_000 }), 1);
  t.equal(database.query({}).length, 1);
  t.match(database.counts(), { stored: 1, oldest: START + 10_000 });
});

t.test("retention by size deletes the oldest and gives the room back", async (t) => {
  const file = join(t.testdir(), "audits.db");
  const database = new AuditDatabase(file, silent);
  t.teardown(() => database.close());
  const many = Array.from({ length: 6_000 }, (_, index) => lookup(`n${index}.example`, START + index));
  database.commit(rows(many));
  const before = statSync(file).size;
  const size = Math.floor(before / 3);
  t.ok(database.exceeds(size));
  for (let round = 0; round < 10 && database.exceeds(size); round++)
    database.prune(START, { ...FOREVER, size });
  t.notOk(database.exceeds(size));
  t.ok(statSync(file).size <= size, `${statSync(file).size} bytes of ${size}`);
  const left = database.query({ limit: 10_000 });
  t.ok(left.length > 1_000 && left.length < 3_000);
  t.equal(JSON.parse(left.at(-1)!).dns.name, "n5999.example", "the newest stay");
  t.equal(database.counts().stored, left.length);
});

t.test("a file that is no database is set aside with a message", async (t) => {
  const folder = t.testdir({ "audits.db": "this is no database at all, it only has its name\n".repeat(100) });
  const notices: string[] = [];
  const database = new AuditDatabase(join(folder, "audits.db"), (message) => notices.push(message));
  t.teardown(() => database.close());
  t.match(notices, [/is damaged \(.*\); it was moved to `.*damaged-.*` and a new one begun/]);
  const aside = readdirSync(folder).find((name) => name.includes("damaged"));
  t.match(readFileSync(join(folder, aside ?? ""), "utf8"), /^this is no database/);
  database.commit(rows([lookup("a.example")]));
  t.equal(database.query({}).length, 1);
});

t.test(
  "a database damaged in its middle is set aside when that is found, and the batch is written",
  async (t) => {
    const folder = t.testdir();
    const file = join(folder, "audits.db");
    const whole = new AuditDatabase(file, silent);
    whole.commit(
      rows(Array.from({ length: 2_000 }, (_, index) => lookup(`n${index}.example`, START + index))),
    );
    whole.close();
    const bytes = readFileSync(file);
    bytes.fill(0xa5, 4096, bytes.length);
    writeFileSync(file, bytes);
    const notices: string[] = [];
    const database = new AuditDatabase(file, (message) => notices.push(message));
    t.teardown(() => database.close());
    database.commit(rows([lookup("a.example", START + 99_999)]));
    t.equal(notices.length, 1);
    t.same(
      database.query({}).map((text) => JSON.parse(text).dns.name),
      ["a.example"],
    );
    t.equal(database.counts().stored, 1);
  },
);

t.test("a database of a newer version is left alone", async (t) => {
  const file = join(t.testdir(), "audits.db");
  const newer = new DatabaseSync(file);
  newer.exec("PRAGMA user_version = 99");
  newer.close();
  t.throws(() => new AuditDatabase(file, silent), { code: "TM_STORE", message: /newer version/ });
  t.ok(existsSync(file));
});

t.test("a place that cannot be written is TM_STORE", async (t) => {
  const folder = t.testdir({ file: "" });
  t.throws(() => new AuditDatabase(join(folder, "file", "audits.db"), silent), { code: "TM_STORE" });
  mkdirSync(join(folder, "audits.db"));
  t.throws(() => new AuditDatabase(join(folder, "audits.db"), silent), { code: "TM_STORE" });
  if (process.getuid?.() !== 0) {
    chmodSync(folder, 0o500);
    t.throws(() => new AuditDatabase(join(folder, "other.db"), silent), { code: "TM_STORE" });
  }
});
