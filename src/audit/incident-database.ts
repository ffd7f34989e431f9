/**
 * Incidents on the disk: `incidents.db`, one row each with the whole record as JSON. On the main thread and apart from the
 * audits: they are few and change seldom (an opening, then one write every few seconds while evidence comes), so that a
 * thread of their own would only add a protocol, and a flood of audits never stands before an operator's `ack`.
 * Nothing that decides runs on the main thread.
 */
import { closeSync, mkdirSync, openSync, renameSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { TidesmanError } from "../errors.ts";
import { isDamage } from "./database.ts";
import type { Incident, IncidentKind } from "./incident-record.ts";

const SCHEMA_VERSION = 1;
const SCHEMA = `
  CREATE TABLE incident (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    container TEXT NOT NULL,
    closed_at INTEGER,
    record TEXT NOT NULL
  ) STRICT;
  CREATE INDEX incident_of ON incident (container, kind);
  PRAGMA user_version = ${SCHEMA_VERSION};
`;

export class IncidentDatabase {
  readonly #file: string;
  readonly #database: DatabaseSync;

  /** A damaged file is set aside, which `onSetAside` is told. Throws TM_STORE when nothing can be written there. */
  constructor(file: string, onSetAside: (message: string) => void) {
    this.#file = file;
    try {
      this.#database = open(file);
    } catch (error) {
      if (!isDamage(error)) throw this.#failure(error);
      const aside = `${file}.damaged-${new Date().toISOString().replace(/[:.]/g, "-")}`;
      try {
        renameSync(file, aside);
        for (const suffix of ["-wal", "-shm"]) rmSync(file + suffix, { force: true });
        this.#database = open(file);
      } catch (again) {
        throw this.#failure(again);
      }
      onSetAside(
        `incident database \`${file}\` was damaged; it was moved to \`${aside}\` and a new one begun`,
      );
    }
  }

  /** Writes all in one transaction. Throws TM_STORE, and then none is written. */
  save(incidents: Iterable<Incident>): void {
    this.#whole(() => {
      const put = this.#database.prepare("INSERT OR REPLACE INTO incident VALUES (?, ?, ?, ?, ?)");
      this.#database.exec("BEGIN IMMEDIATE");
      try {
        for (const incident of incidents) {
          const closedAt = incident.closedAt === null ? null : Date.parse(incident.closedAt);
          put.run(incident.id, incident.kind, incident.container.id, closedAt, JSON.stringify(incident));
        }
        this.#database.exec("COMMIT");
      } catch (error) {
        if (this.#database.isTransaction) this.#database.exec("ROLLBACK");
        throw error;
      }
    });
  }

  /** Those that are not closed. */
  open(): readonly Incident[] {
    return this.#read("WHERE closed_at IS NULL ORDER BY id");
  }

  /** The newest of all, `limit` of them, the latest first. */
  newest(limit: number): readonly Incident[] {
    return this.#read("ORDER BY id DESC LIMIT ?", limit);
  }

  /** At most two whose identifier begins so. */
  beginning(prefix: string): readonly Incident[] {
    return this.#read("WHERE substr(id, 1, ?) = ? LIMIT 2", prefix.length, prefix);
  }

  /** The latest of that kind that was closed after `since`. */
  closed(container: string, kind: IncidentKind, since: number): Incident | undefined {
    return this.#read(
      "WHERE container = ? AND kind = ? AND closed_at > ? ORDER BY closed_at DESC LIMIT 1",
      container,
      kind,
      since,
    )[0];
  }

  /** Deletes what was closed before; open ones stay. */
  prune(before: number): void {
    this.#whole(() => this.#database.prepare("DELETE FROM incident WHERE closed_at < ?").run(before));
  }

  close(): void {
    this.#database.close();
  }

  #read(rest: string, ...values: readonly (string | number)[]): readonly Incident[] {
    return this.#whole(() =>
      this.#database
        .prepare(`SELECT record FROM incident ${rest}`)
        .all(...values)
        .map((row) => JSON.parse(String(row.record)) as Incident),
    );
  }

  #whole<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      throw this.#failure(error);
    }
  }

  #failure(error: unknown): TidesmanError {
    if (error instanceof TidesmanError) return error;
    const why = error instanceof Error ? error.message : String(error);
    return new TidesmanError("TM_STORE", `cannot use incidents in \`${this.#file}\`: ${why}`, {
      cause: error,
    });
  }
}

function open(file: string): DatabaseSync {
  mkdirSync(dirname(file), { recursive: true, mode: 0o750 });
  closeSync(openSync(file, "a", 0o600));
  const database = new DatabaseSync(file, { timeout: 1_000 });
  try {
    database.exec("PRAGMA journal_mode = WAL");
    database.exec("PRAGMA synchronous = FULL");
    const version = Number(database.prepare("PRAGMA user_version").get()?.user_version ?? 0);
    if (version > SCHEMA_VERSION) {
      throw new TidesmanError(
        "TM_STORE",
        `incident database \`${file}\` was written by a newer version of tidesman (schema ${version}, this one ` +
          `knows ${SCHEMA_VERSION}); install that version, or move the file away to start a new one`,
      );
    }
    if (version === 0) database.exec(`BEGIN IMMEDIATE; ${SCHEMA} COMMIT;`);
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}
