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
import { Model, type ModelChanges, type ModelRecord, type Sightings } from "./model.ts";

const SCHEMA_VERSION = 1;
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
  PRAGMA user_version = ${SCHEMA_VERSION};
`;

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
      for (const { record, names, ports } of changes) {
        const { key, image, state, livelyState, learnedTime, createdAt, changedAt } = record;
        const rest = [record.activeSince, record.archivedAt, record.dropped];
        this.#statements.model.run(
          key,
          image,
          state,
          livelyState,
          learnedTime,
          createdAt,
          changedAt,
          ...rest,
        );
        for (const { name, firstSeen, lastSeen, count, container } of names) {
          this.#statements.name.run(key, name, firstSeen, lastSeen, count, container);
        }
        for (const { protocol, port, firstSeen, lastSeen, count, container } of ports) {
          this.#statements.port.run(key, protocol, port, firstSeen, lastSeen, count, container);
        }
      }
      this.#database.exec("COMMIT");
    } catch (error) {
      if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
      throw error;
    }
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
    mkdirSync(dirname(this.#file), { recursive: true, mode: 0o750 });
    // Models tell what containers do: only root may read them. SQLite gives its -wal and -shm the same mode.
    closeSync(openSync(this.#file, "a", 0o600));
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
      if (version === 0) database.exec(`BEGIN IMMEDIATE; ${SCHEMA} COMMIT;`);
      // A lock that cannot be had, or a file system that cannot be written, shows here and not at the first batch.
      database.exec("BEGIN IMMEDIATE; COMMIT;");
      return [database, prepare(database)];
    } catch (error) {
      database.close();
      throw error;
    }
  }

  #load(): Model[] {
    const names = Map.groupBy(this.#database.prepare("SELECT * FROM name").iterate(), (row) => row.model);
    const ports = Map.groupBy(
      this.#database.prepare("SELECT * FROM outbound_port").iterate(),
      (row) => row.model,
    );
    return this.#database
      .prepare("SELECT * FROM model ORDER BY key")
      .all()
      .map((row) => {
        const nameEntries = names
          .get(row.key ?? null)
          ?.map((entry) => ({ name: String(entry.name), ...sightings(entry) }));
        const portEntries = ports.get(row.key ?? null)?.map((entry) => ({
          protocol: Number(entry.protocol),
          port: Number(entry.port),
          ...sightings(entry),
        }));
        return new Model(recordOf(row), nameEntries, portEntries);
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

interface Statements {
  readonly model: StatementSync;
  readonly name: StatementSync;
  readonly port: StatementSync;
  readonly remove: StatementSync;
}

function prepare(database: DatabaseSync): Statements {
  const resight = "last_seen = excluded.last_seen, count = excluded.count";
  return {
    model: database.prepare(
      `INSERT INTO model VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
         image = excluded.image, state = excluded.state, lively_state = excluded.lively_state,
         learned_time = excluded.learned_time, changed_at = excluded.changed_at,
         active_since = excluded.active_since, archived_at = excluded.archived_at, dropped = excluded.dropped`,
    ),
    name: database.prepare(`INSERT INTO name VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET ${resight}`),
    port: database.prepare(
      `INSERT INTO outbound_port VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET ${resight}`,
    ),
    remove: database.prepare("DELETE FROM model WHERE key = ?"),
  };
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
  };
}

function sightings(row: Row): Sightings {
  return {
    firstSeen: Number(row.first_seen),
    lastSeen: Number(row.last_seen),
    count: Number(row.count),
    container: String(row.container),
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
