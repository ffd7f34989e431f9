/** The audit worker: a thread of its own, so that nothing that decides ever waits for a disk. One message, one answer. */
import { parentPort, workerData } from "node:worker_threads";
import { type AuditCounts, AuditDatabase, type AuditRow, type Retention } from "./database.ts";
import type { AuditFilter } from "./filter.ts";

/** What the worker is started with. */
export interface StoreStart {
  readonly file: string;
  readonly retention: Retention;
}

/** `number` is repeated in the answer. `now`: milliseconds since the epoch. */
export type ToStore =
  | {
      readonly kind: "commit";
      readonly number: number;
      readonly rows: readonly AuditRow[];
      readonly now: number;
    }
  | { readonly kind: "query"; readonly number: number; readonly filter: AuditFilter }
  | { readonly kind: "prune"; readonly number: number; readonly now: number }
  | { readonly kind: "close"; readonly number: number };

/** The first answer, number 0, tells of the opening. */
export type FromStore =
  | { readonly kind: "done"; readonly number: number; readonly counts: AuditCounts }
  | { readonly kind: "records"; readonly number: number; readonly texts: readonly string[] }
  | { readonly kind: "failed"; readonly number: number; readonly message: string }
  | { readonly kind: "setAside"; readonly message: string };

const port = parentPort;
if (port !== null) {
  const tell = (message: FromStore): void => port.postMessage(message);
  const fail = (number: number, error: unknown): void =>
    tell({ kind: "failed", number, message: error instanceof Error ? error.message : String(error) });
  try {
    serve(workerData as StoreStart, tell, fail);
  } catch (error) {
    fail(0, error);
    port.close();
  }
}

function serve(
  start: StoreStart,
  tell: (message: FromStore) => void,
  fail: (number: number, error: unknown) => void,
): void {
  const database = new AuditDatabase(start.file, (message) => tell({ kind: "setAside", message }));
  tell({ kind: "done", number: 0, counts: database.counts() });
  port?.on("message", (message: ToStore) => {
    try {
      if (message.kind === "query") {
        tell({ kind: "records", number: message.number, texts: database.query(message.filter) });
        return;
      }
      if (message.kind === "commit") {
        database.commit(message.rows);
        tell({ kind: "done", number: message.number, counts: database.counts() });
        if (database.exceeds(start.retention.size)) database.prune(message.now, start.retention);
        return;
      }
      if (message.kind === "prune") database.prune(message.now, start.retention);
      const counts = database.counts();
      if (message.kind === "close") database.close();
      tell({ kind: "done", number: message.number, counts });
      if (message.kind === "close") port?.close();
    } catch (error) {
      fail(message.number, error);
    }
  });
}
