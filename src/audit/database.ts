/**
 * The audit database: one SQLite file, used by one thread. Write-ahead log with a sync at every commit
 * (`synchronous=FULL`; in WAL mode NORMAL may lose the latest transactions when the power fails), which costs one
 * fsync per batch, not per record: what `commit` returned from is on the disk.
 *
 * `record` holds the whole record as JSON, the public contract; the columns beside it exist to be searched.
 * `PRAGMA user_version` is the schema's version. A file of a newer version is left alone; a file that is no database,
 * or a damaged one, is set aside under another name, so that auditing goes on.
 */
import { closeSync, mkdirSync, openSync, renameSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import { DatabaseSync, type SQLInputValue, type StatementSync } from "node:sqlite";
import { TidesmanError } from "../errors.ts";
import { type AuditFilter, DEFAULT_AUDIT_LIMIT, MAX_AUDIT_LIMIT } from "./filter.ts";
import type { AuditRecord } from "./record.ts";

const SCHEMA_VERSION = 1;
const SCHEMA = `
  CREATE TABLE audit (
    id TEXT NOT NULL UNIQUE,
    time INTEGER NOT NULL,
    last_time INTEGER NOT NULL,
    container_id TEXT,
    container_name TEXT,
    attack_type TEXT NOT NULL,
    effect TEXT NOT NULL,
    record TEXT NOT NULL
  ) STRICT;
  CREATE INDEX audit_last_time ON audit (last_time);
  PRAGMA user_version = ${SCHEMA_VERSION};
`;

/** SQLite result codes (sqlite.org/rescode.html), primary ones. */
const SQLITE_CORRUPT = 11;
const SQLITE_NOTADB = 26;

/** Records deleted, and pages given back to the file system, at most by one `prune`, so that no commit waits long. */
const PRUNE_RECORDS = 5_000;
const PRUNE_PAGES = 5_000;
/** A size prune makes room for a while: down to this share of the limit. */
const PRUNE_TO = 0.9;

export interface Retention {
  /** Milliseconds. */
  readonly age: number;
  /** Bytes of the database file. */
  readonly size: number;
}

export interface AuditCounts {
  /** Records in the database. */
  readonly stored: number;
  /** Bytes in use. */
  readonly bytes: number;
  /** Milliseconds since the epoch of the oldest record's latest event; null when there is none. */
  readonly oldest: number | null;
}

export interface AuditRow {
  readonly record: AuditRecord;
  /** The record was never committed before. */
  readonly isNew: boolean;
}

export class AuditDatabase {
  readonly #file: string;
  readonly #onSetAside: (message: string) => void;
  #database: DatabaseSync;
  #insert: StatementSync;
  #update: StatementSync;
  #stored = 0;

  /**
   * Opens or makes the database. `onSetAside` is told when a damaged file was moved out of the way.
   * Throws TM_STORE when nothing can be written there.
   */
  constructor(file: string, onSetAside: (message: string) => void) {
    this.#file = file;
    this.#onSetAside = onSetAside;
    try {
      this.#database = this.#open();
    } catch (error) {
      if (!isDamage(error)) throw storeError(file, error);
      this.#setAside(error);
      try {
        this.#database = this.#open();
      } catch (again) {
        throw storeError(file, again);
      }
    }
    [this.#insert, this.#update] = this.#prepare();
  }

  /** Writes all rows in one transaction; on return they are on the disk. Throws TM_STORE, and then none is. */
  commit(rows: readonly AuditRow[]): void {
    this.#whole(() => this.#commit(rows));
  }

  /** Records as JSON texts, in ascending order of identifier. */
  query(filter: AuditFilter): string[] {
    const limit = Math.min(Math.max(1, filter.limit ?? DEFAULT_AUDIT_LIMIT), MAX_AUDIT_LIMIT);
    const { where, values } = conditions(filter);
    const order = filter.after === undefined ? "DESC" : "ASC";
    const sql = `SELECT record FROM audit ${where} ORDER BY id ${order} LIMIT ${limit}`;
    const texts = this.#whole(() =>
      this.#database
        .prepare(sql)
        .all(...values)
        .map((row) => String(row.record)),
    );
    return order === "DESC" ? texts.reverse() : texts;
  }

  /** Deletes what is too old or too much, the oldest first, a bounded part of it per call. Returns how many. */
  prune(now: number, retention: Retention): number {
    return this.#whole(() => this.#prune(now, retention));
  }

  /** Whether the size limit is passed; cheap enough for every commit. */
  exceeds(size: number): boolean {
    return this.#whole(() => this.#used() > size);
  }

  counts(): AuditCounts {
    const row = this.#whole(() => this.#database.prepare("SELECT min(last_time) AS oldest FROM audit").get());
    const oldest = row?.oldest;
    return {
      stored: this.#stored,
      bytes: this.#used(),
      oldest: typeof oldest === "number" ? oldest : null,
    };
  }

  close(): void {
    this.#database.close();
  }

  #prune(now: number, retention: Retention): number {
    let excess = this.#tooOld(now - retention.age);
    const used = this.#used();
    if (used > retention.size) {
      excess = Math.max(excess, Math.ceil(this.#stored * (1 - (PRUNE_TO * retention.size) / used)));
    }
    const count = Math.min(excess, PRUNE_RECORDS);
    if (count > 0) {
      this.#database
        .prepare("DELETE FROM audit WHERE rowid IN (SELECT rowid FROM audit ORDER BY last_time LIMIT ?)")
        .run(count);
      this.#stored -= count;
    }
    if (count > 0 || this.#pragma("freelist_count") > 0) {
      this.#database.exec(`PRAGMA incremental_vacuum(${PRUNE_PAGES})`);
      this.#database.exec("PRAGMA wal_checkpoint(TRUNCATE)");
    }
    return count;
  }

  #open(): DatabaseSync {
    mkdirSync(dirname(this.#file), { recursive: true, mode: 0o750 });
    // Audits tell what containers do: only root may read them. SQLite gives its -wal and -shm the same mode.
    closeSync(openSync(this.#file, "a", 0o600));
    const database = new DatabaseSync(this.#file, { timeout: 5_000 });
    try {
      // Has to come before the first table, or it has no effect.
      database.exec("PRAGMA auto_vacuum = INCREMENTAL");
      database.exec("PRAGMA journal_mode = WAL");
      database.exec("PRAGMA synchronous = FULL");
      database.exec("PRAGMA journal_size_limit = 8388608");
      const version = Number(database.prepare("PRAGMA user_version").get()?.user_version ?? 0);
      if (version > SCHEMA_VERSION) {
        throw new TidesmanError(
          "TM_STORE",
          `audit database \`${this.#file}\` was written by a newer version of tidesman (schema ${version}, ` +
            `this one knows ${SCHEMA_VERSION}); install that version, or move the file away to start a new one`,
        );
      }
      if (version === 0) database.exec(`BEGIN IMMEDIATE; ${SCHEMA} COMMIT;`);
      this.#stored = Number(database.prepare("SELECT count(*) AS stored FROM audit").get()?.stored ?? 0);
      return database;
    } catch (error) {
      database.close();
      throw error;
    }
  }

  #prepare(): [StatementSync, StatementSync] {
    return [
      this.#database.prepare(
        `INSERT INTO audit (last_time, record, id, time, container_id, container_name, attack_type, effect)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
      ),
      this.#database.prepare("UPDATE audit SET last_time = ?, record = ? WHERE id = ?"),
    ];
  }

  #commit(rows: readonly AuditRow[]): void {
    const database = this.#database;
    let added = 0;
    database.exec("BEGIN IMMEDIATE");
    try {
      for (const { record, isNew } of rows) {
        const lastTime = Date.parse(record.lastTime);
        const text = JSON.stringify(record);
        // A record known to its writer may be gone here: pruned, or left behind in a file that was set aside.
        if (!isNew && this.#update.run(lastTime, text, record.id).changes > 0) continue;
        this.#insert.run(
          lastTime,
          text,
          record.id,
          Date.parse(record.time),
          record.container?.id ?? null,
          record.container?.name ?? null,
          record.attackType,
          record.effect,
        );
        added++;
      }
      database.exec("COMMIT");
    } catch (error) {
      // Some failures (a full disk) have rolled back already.
      if (database.isTransaction) database.exec("ROLLBACK");
      throw error;
    }
    this.#stored += added;
  }

  /** Does the work; where the file turns out damaged, once more on a new one. Throws TM_STORE. */
  #whole<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      if (!isDamage(error)) throw storeError(this.#file, error);
      this.#startAfresh(error);
    }
    try {
      return work();
    } catch (error) {
      throw storeError(this.#file, error);
    }
  }

  #startAfresh(error: unknown): void {
    this.#database.close();
    this.#setAside(error);
    try {
      this.#database = this.#open();
    } catch (again) {
      throw storeError(this.#file, again);
    }
    [this.#insert, this.#update] = this.#prepare();
  }

  #setAside(error: unknown): void {
    const aside = `${this.#file}.damaged-${new Date().toISOString().replace(/[:.]/g, "-")}`;
    try {
      renameSync(this.#file, aside);
      // The log belongs to the damaged file; replayed into a new one it would damage that as well.
      for (const suffix of ["-wal", "-shm"]) rmSync(this.#file + suffix, { force: true });
    } catch (failure) {
      throw storeError(this.#file, failure);
    }
    this.#onSetAside(
      `audit database \`${this.#file}\` is damaged (${messageOf(error)}); it was moved to \`${aside}\` and a new one begun`,
    );
  }

  #tooOld(before: number): number {
    const row = this.#database
      .prepare("SELECT count(*) AS old FROM (SELECT 1 FROM audit WHERE last_time < ? LIMIT ?)")
      .get(before, PRUNE_RECORDS);
    return Number(row?.old ?? 0);
  }

  #used(): number {
    return (this.#pragma("page_count") - this.#pragma("freelist_count")) * this.#pragma("page_size");
  }

  #pragma(name: "page_count" | "freelist_count" | "page_size"): number {
    return Number(this.#database.prepare(`PRAGMA ${name}`).get()?.[name] ?? 0);
  }
}

function conditions(filter: AuditFilter): { where: string; values: SQLInputValue[] } {
  const parts: string[] = [];
  const values: SQLInputValue[] = [];
  const add = (sql: string, ...given: SQLInputValue[]): void => {
    parts.push(sql);
    values.push(...given);
  };
  if (filter.since !== undefined) add("last_time >= ?", filter.since);
  if (filter.until !== undefined) add("time <= ?", filter.until);
  if (filter.attackType !== undefined) add("attack_type = ?", filter.attackType);
  if (filter.effect !== undefined) add("effect = ?", filter.effect);
  if (filter.after !== undefined) add("id > ?", filter.after);
  const container = filter.container;
  if (container !== undefined) {
    const isPrefix = /^[0-9a-f]{6,}$/.test(container);
    const ofIt = (name: string, id: string): string =>
      `${name} = ? OR ${isPrefix ? `substr(${id}, 1, ${container.length})` : id} = ?`;
    // A fold names its containers in the record alone. Looking for the key first spares the others being parsed.
    add(
      `(${ofIt("container_name", "container_id")} OR instr(record, '"fold":{') > 0 AND EXISTS (
        SELECT 1 FROM json_each(record, '$.fold.containers')
        WHERE ${ofIt("json_extract(value, '$.name')", "json_extract(value, '$.id')")}))`,
      ...[container, container, container, container],
    );
  }
  return { where: parts.length === 0 ? "" : `WHERE ${parts.join(" AND ")}`, values };
}

/** Whether the error says that the file is no database or a broken one. */
export function isDamage(error: unknown): boolean {
  if (!(error instanceof Error) || !("errcode" in error) || typeof error.errcode !== "number") return false;
  const primary = error.errcode & 0xff;
  return primary === SQLITE_CORRUPT || primary === SQLITE_NOTADB;
}

function storeError(file: string, error: unknown): TidesmanError {
  if (error instanceof TidesmanError) return error;
  return new TidesmanError(
    "TM_STORE",
    `cannot write audits to \`${file}\`: ${messageOf(error)}; check that the folder exists, may be written, and has room`,
    { cause: error },
  );
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
