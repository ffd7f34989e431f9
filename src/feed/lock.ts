/**
 * One update at a time, among processes: a lock of SQLite on a file of its own, since Node has none for files. The kernel
 * gives it up when its process ends, however that happens, so that no lock is ever left behind.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { systemCode, TidesmanError } from "../errors.ts";

/** `state`: what is in force, and what is remembered; held shortly. `fetching`: stored bodies; held while servers answer. */
export type FeedLock = "state" | "fetching";
const FILES: Readonly<Record<FeedLock, string>> = { state: "lock", fetching: "fetching.lock" };

/** Milliseconds that a second update waits for the first. */
const PATIENCE = 15_000;
/** Primary result codes (sqlite.org/rescode.html): SQLITE_BUSY; SQLITE_PERM, SQLITE_READONLY and SQLITE_CANTOPEN. */
const BUSY = 5;
const DENIED = new Set([3, 8, 14]);
const DENIED_CODES = new Set(["EACCES", "EPERM", "EROFS"]);

/**
 * Takes a lock of a folder and hands back what releases it. Throws TM_FEED_BUSY when another update goes on too long,
 * TM_NOT_PERMITTED and TM_STORE.
 */
export function lockFeeds(folder: string, patience = PATIENCE, lock: FeedLock = "state"): () => void {
  let database: DatabaseSync | undefined;
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    database = new DatabaseSync(join(folder, FILES[lock]), { timeout: patience });
    database.exec("BEGIN EXCLUSIVE");
  } catch (error) {
    database?.close();
    const result = error instanceof Error && "errcode" in error ? Number(error.errcode) & 0xff : 0;
    if (result === BUSY) {
      throw new TidesmanError(
        "TM_FEED_BUSY",
        "another update of the feeds is running; try again when it has ended",
      );
    }
    const code = systemCode(error);
    const why = error instanceof Error ? error.message : code;
    const denied = DENIED_CODES.has(code) || DENIED.has(result);
    throw new TidesmanError(
      denied ? "TM_NOT_PERMITTED" : "TM_STORE",
      `\`${folder}\` cannot be used for updates (${why})${denied ? "; run as root" : ""}`,
      { cause: error },
    );
  }
  const held = database;
  return () => held.close();
}
