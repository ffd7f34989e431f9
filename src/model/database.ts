/**
 * The models' database: one SQLite file, used by one thread. In WAL mode with `synchronous=NORMAL` a killed process loses
 * no committed batch; a power cut may lose the latest ones, which containers teach again, but leaves the file sound.
 * `PRAGMA user_version` is the schema's version. A file of a newer version is left alone; a file that is no database, or a
 * damaged one, is set aside under another name, and a fresh one begun.
 */
import { closeSync, mkdirSync, openSync, renameSync } from "node:fs";
import { dirname } from "node:path";
import { DatabaseSync, type SQLOutputValue, type StatementSync } from "node:sqlite";
import type { Clock } from "../clock.ts";
import { systemCode, TidesmanError } from "../errors.ts";
import { Model, type ModelChanges, type ModelRecord, type PortEntry, type Sightings } from "./model.ts";

const SCHEMA_VERSION = 2;
const SIGHTINGS =
  "first_seen INTEGER NOT NULL, last_seen INTEGER NOT NULL, count INTEGER NOT NULL, container TEXT NOT NULL";
const SCHEMA = `
  CREATE TABLE model (
    key TEXT PRIMARY KEY,
    image TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('learning', 'active', 'manual', 'archived')),
    lively_state TEXT NOT NULL CHECK (lively_state IN ('learning', 'active', 'manual')),
    learned_time REAL NOT NULL,
    created_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    active_since INTEGER,
    archived_at INTEGER,
    dropped INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE name (
    model TEXT NOT NULL REFERENCES model ON DELETE CASCADE,
    name TEXT NOT NULL, ${SIGHTINGS}, PRIMARY KEY (model, name)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE outbound_port (
    model TEXT NOT NULL REFERENCES model ON DELETE CASCADE,
    protocol INTEGER NOT NULL, port INTEGER NOT NULL, ${SIGHTINGS}, PRIMARY KEY (model, protocol, port)
  ) STRICT, WITHOUT ROWID;
  PRAGMA user_version = 1;
`;
/** What each version added to the one before it. */
const UPGRADE_2 = `
  ALTER TABLE model ADD COLUMN locked INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE model ADD COLUMN trial_until INTEGER;
  ALTER TABLE model ADD COLUMN extension REAL NOT NULL DEFAULT 0;
  ALTER TABLE model ADD COLUMN predecessor TEXT;
  ALTER TABLE model ADD COLUMN recent_new REAL NOT NULL DEFAULT 0;
  ALTER TABLE model ADD COLUMN recent_time REAL NOT NULL DEFAULT 0;
  ALTER TABLE model ADD COLUMN apart TEXT NOT NULL DEFAULT '[]';
  ALTER TABLE name ADD COLUMN inherited INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE name ADD COLUMN members TEXT;
  ALTER TABLE outbound_port ADD COLUMN inherited INTEGER NOT NULL DEFAULT 0;
  CREATE TABLE listening_port (
    model TEXT NOT NULL REFERENCES model ON DELETE CASCADE,
    protocol INTEGER NOT NULL, port INTEGER NOT NULL, ${SIGHTINGS}, inherited INTEGER NOT NULL,
    PRIMARY KEY (model, protocol, port)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE internal_destination (
    model TEXT NOT NULL REFERENCES model ON DELETE CASCADE,
    protocol INTEGER NOT NULL, port INTEGER NOT NULL, subnet TEXT NOT NULL, ${SIGHTINGS}, inherited INTEGER NOT NULL,
    PRIMARY KEY (model, protocol, port, subnet)
  ) STRICT, WITHOUT ROWID;
  PRAGMA user_version = 2;
`;

/** What SQLite calls a database without a file. */
const IN_MEMORY = ":memory:";
/** SQLite result codes (sqlite.org/rescode.html), primary ones. */
const SQLITE_CORRUPT = 11;
const SQLITE_NOTADB = 26;

type Row = Record<string, SQLOutputValue>;

export class ModelDatabase {
  readonly #file: string;
  readonly #clock: Clock;
  readonly #onSetAside: (message: string) => void;
  #database: DatabaseSync;
  #statements: Statements;

  /**
   * Opens or makes the database. `onSetAside` is told when a damaged file was moved out of the way.
   * Throws TM_STORE when nothing can be written there.
   */
  constructor(file: string, clock: Clock, onSetAside: (message: string) => void) {
    this.#file = file;
    this.#clock = clock;
    this.#onSetAside = onSetAside;
    [this.#database, this.#statements] = this.#open();
  }

  /** All models. A file that turns out to be damaged is set aside, and then there are none. Throws TM_STORE. */
  load(): Model[] {
    try {
      return this.#load();
    } catch (error) {
      if (!isDamage(error)) throw this.#failure(error);
      this.beginAgain(error);
      return [];
    }
  }

  /** Writes changes and removals in one transaction. Throws what SQLite throws; then nothing of it is written. */
  write(changes: Iterable<ModelChanges>, removals: Iterable<string>): void {
    this.#database.exec("BEGIN IMMEDIATE");
    try {
      for (const key of removals) this.#statements.remove.run(key);
      for (const change of changes) this.#writeModel(change);
      this.#database.exec("COMMIT");
    } catch (error) {
      if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
      throw error;
    }
  }

  #writeModel(change: ModelChanges): void {
    const { record, removed, apart } = change;
    const { key, image, state, livelyState, learnedTime, createdAt, changedAt, locked } = record;
    const statements = this.#statements;
    statements.model.run(
      ...[key, image, state, livelyState, learnedTime, createdAt, changedAt],
      ...[record.activeSince, record.archivedAt, record.dropped, locked ? 1 : 0, record.trialUntil],
      ...[record.extension, record.predecessor, record.recentNew, record.recentTime, JSON.stringify(apart)],
    );
    for (const { name } of removed.names) statements.removeName.run(key, name);
    for (const { protocol, port } of removed.ports) statements.removePort.run(key, protocol, port);
    for (const { protocol, port } of removed.listening) statements.removeListening.run(key, protocol, port);
    for (const { protocol, port, subnet } of removed.destinations)
      statements.removeDestination.run(key, protocol, port, subnet);
    for (const entry of change.names) {
      const members = entry.members === undefined ? null : JSON.stringify(entry.members);
      statements.name.run(key, entry.name, ...seen(entry), members);
    }
    for (const entry of change.ports) statements.port.run(key, entry.protocol, entry.port, ...seen(entry));
    for (const entry of change.listening)
      statements.listening.run(key, entry.protocol, entry.port, ...seen(entry));
    for (const entry of change.destinations)
      statements.destination.run(key, entry.protocol, entry.port, entry.subnet, ...seen(entry));
  }

  /** Sets the file aside, whatever is in it, and begins a fresh one. Throws TM_STORE when that fails. */
  beginAgain(cause: unknown): void {
    this.#database.close();
    this.#setAside(cause);
    [this.#database, this.#statements] = this.#openSound();
  }

  close(): void {
    this.#database.close();
  }

  #open(): [DatabaseSync, Statements] {
    try {
      return this.#connect();
    } catch (error) {
      if (!isDamage(error)) throw this.#failure(error);
      this.#setAside(error);
      return this.#openSound();
    }
  }

  #openSound(): [DatabaseSync, Statements] {
    try {
      return this.#connect();
    } catch (error) {
      throw this.#failure(error);
    }
  }

  #connect(): [DatabaseSync, Statements] {
    // Models tell what containers do: only root may read them. SQLite gives its -wal and -shm the same mode.
    if (this.#file !== IN_MEMORY) {
      mkdirSync(dirname(this.#file), { recursive: true, mode: 0o750 });
      closeSync(openSync(this.#file, "a", 0o600));
    }
    const database = new DatabaseSync(this.#file, { timeout: 5_000, enableForeignKeyConstraints: true });
    try {
      database.exec("PRAGMA journal_mode = WAL");
      database.exec("PRAGMA synchronous = NORMAL");
      database.exec("PRAGMA journal_size_limit = 8388608");
      const version = Number(database.prepare("PRAGMA user_version").get()?.user_version ?? 0);
      if (version > SCHEMA_VERSION) {
        throw new TidesmanError(
          "TM_STORE",
          `model database \`${this.#file}\` was written by a newer version of tidesman (schema ${version}, this one ` +
            `knows ${SCHEMA_VERSION}); install that version, or move the file away to learn anew`,
        );
      }
      if (version === 0) database.exec(`BEGIN IMMEDIATE; ${SCHEMA} ${UPGRADE_2} COMMIT;`);
      if (version === 1) database.exec(`BEGIN IMMEDIATE; ${UPGRADE_2} COMMIT;`);
      // A lock that cannot be had, or a file system that cannot be written, shows here and not at the first batch.
      database.exec("BEGIN IMMEDIATE; COMMIT;");
      return [database, prepare(database)];
    } catch (error) {
      database.close();
      throw error;
    }
  }

  #load(): Model[] {
    const byModel = (table: string): Map<SQLOutputValue | undefined, Row[]> =>
      Map.groupBy(this.#database.prepare(`SELECT * FROM ${table}`).iterate(), (row) => row.model);
    const names = byModel("name");
    const ports = byModel("outbound_port");
    const listening = byModel("listening_port");
    const destinations = byModel("internal_destination");
    return this.#database
      .prepare("SELECT * FROM model ORDER BY key")
      .all()
      .map((row) => {
        const nameEntries = names.get(row.key)?.map((entry) => ({
          name: String(entry.name),
          ...sightings(entry),
          ...(entry.members == null ? {} : { members: texts(entry.members) }),
        }));
        return new Model(recordOf(row), nameEntries, ports.get(row.key)?.map(portEntry), {
          listening: listening.get(row.key)?.map(portEntry) ?? [],
          destinations:
            destinations
              .get(row.key)
              ?.map((entry) => ({ subnet: String(entry.subnet), ...portEntry(entry) })) ?? [],
          apart: texts(row.apart),
        });
      });
  }

  #setAside(cause: unknown): void {
    const aside = `${this.#file}.damaged-${new Date(this.#clock.now()).toISOString().replaceAll(":", "")}`;
    // The log and the index belong to the damaged file; left behind they would be applied to the fresh one.
    for (const suffix of ["", "-wal", "-shm"]) {
      try {
        renameSync(`${this.#file}${suffix}`, `${aside}${suffix}`);
      } catch (error) {
        if (systemCode(error) !== "ENOENT") throw this.#failure(error);
      }
    }
    this.#onSetAside(
      `model database \`${this.#file}\` is damaged (${messageOf(cause)}); it was set aside as \`${aside}\`, ` +
        "and models are learned anew",
    );
  }

  #failure(error: unknown): TidesmanError {
    if (error instanceof TidesmanError) return error;
    const message = `cannot use model database \`${this.#file}\`: ${messageOf(error)}; check its folder's rights and space`;
    return new TidesmanError("TM_STORE", message, { cause: error });
  }
}

type Statements = ReturnType<typeof prepare>;

function prepare(database: DatabaseSync) {
  const insert = (table: string, columns: string, more = ""): StatementSync =>
    database.prepare(
      `INSERT INTO ${table} (model, ${columns}, first_seen, last_seen, count, container, inherited${more})
       VALUES (?, ${columns.replaceAll(/\w+/g, "?")}, ?, ?, ?, ?, ?${more === "" ? "" : ", ?"})
       ON CONFLICT DO UPDATE SET last_seen = excluded.last_seen, count = excluded.count,
         first_seen = excluded.first_seen, container = excluded.container, inherited = excluded.inherited
         ${more === "" ? "" : ", members = excluded.members"}`,
    );
  const remove = (table: string, columns: readonly string[]): StatementSync =>
    database.prepare(
      `DELETE FROM ${table} WHERE model = ? AND ${columns.map((one) => `${one} = ?`).join(" AND ")}`,
    );
  return {
    model: database.prepare(
      `INSERT INTO model (key, image, state, lively_state, learned_time, created_at, changed_at, active_since,
         archived_at, dropped, locked, trial_until, extension, predecessor, recent_new, recent_time, apart)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
         image = excluded.image, state = excluded.state, lively_state = excluded.lively_state,
         learned_time = excluded.learned_time, changed_at = excluded.changed_at,
         active_since = excluded.active_since, archived_at = excluded.archived_at, dropped = excluded.dropped,
         locked = excluded.locked, trial_until = excluded.trial_until, extension = excluded.extension,
         predecessor = excluded.predecessor, recent_new = excluded.recent_new,
         recent_time = excluded.recent_time, apart = excluded.apart`,
    ),
    name: insert("name", "name", ", members"),
    port: insert("outbound_port", "protocol, port"),
    listening: insert("listening_port", "protocol, port"),
    destination: insert("internal_destination", "protocol, port, subnet"),
    remove: database.prepare("DELETE FROM model WHERE key = ?"),
    removeName: remove("name", ["name"]),
    removePort: remove("outbound_port", ["protocol", "port"]),
    removeListening: remove("listening_port", ["protocol", "port"]),
    removeDestination: remove("internal_destination", ["protocol", "port", "subnet"]),
  };
}

/** Columns of a sighting, in the order of `prepare`. */
function seen(entry: Sightings): [number, number, number, string, number] {
  return [entry.firstSeen, entry.lastSeen, entry.count, entry.container, entry.inherited === true ? 1 : 0];
}

function portEntry(row: Row): PortEntry {
  return { protocol: Number(row.protocol), port: Number(row.port), ...sightings(row) };
}

/** A JSON list of texts; only another program can have stored anything else. */
function texts(value: SQLOutputValue | undefined): string[] {
  try {
    const list: unknown = JSON.parse(String(value));
    return Array.isArray(list) ? list.map(String) : [];
  } catch {
    return [];
  }
}

function recordOf(row: Row): ModelRecord {
  return {
    key: String(row.key),
    image: String(row.image),
    state: row.state === "archived" ? "archived" : livelyState(row.state),
    livelyState: livelyState(row.lively_state),
    learnedTime: Number(row.learned_time),
    createdAt: Number(row.created_at),
    changedAt: Number(row.changed_at),
    activeSince: row.active_since == null ? null : Number(row.active_since),
    archivedAt: row.archived_at == null ? null : Number(row.archived_at),
    dropped: Number(row.dropped),
    locked: row.locked === 1,
    trialUntil: row.trial_until == null ? null : Number(row.trial_until),
    extension: Number(row.extension),
    predecessor: row.predecessor == null ? null : String(row.predecessor),
    recentNew: Number(row.recent_new),
    recentTime: Number(row.recent_time),
  };
}

function sightings(row: Row): Sightings {
  return {
    firstSeen: Number(row.first_seen),
    lastSeen: Number(row.last_seen),
    count: Number(row.count),
    container: String(row.container),
    ...(row.inherited === 1 ? { inherited: true } : {}),
  };
}

/** The schema's checks leave no other value. */
function livelyState(value: SQLOutputValue | undefined): ModelRecord["livelyState"] {
  return value === "active" || value === "manual" ? value : "learning";
}

/** Whether an error means that the file is no sound database. */
export function isDamage(error: unknown): boolean {
  if (!(error instanceof Error) || !("errcode" in error)) return false;
  // Extended codes carry the primary one in their lower byte.
  const code = Number(error.errcode) & 0xff;
  return code === SQLITE_CORRUPT || code === SQLITE_NOTADB;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
