/**
 * The audit log: findings in, records on the disk, and everyone who listens told. A finding goes
 *
 *   add → folded into an open record or a new one (aggregate.ts) → waiting → in flight → committed → told
 *
 * and `add` never waits. Records that wait are kept once each, in their latest form: a finding that repeats a thousand
 * times while the disk is busy is one write. What waits is bounded; past the bound `add` refuses and counts. One batch
 * is in flight at a time, everything that came meanwhile is the next, so that batches grow with the load. Listeners are
 * told after the commit, hence never of a record that a crash could still take back.
 */
import { Worker } from "node:worker_threads";
import type { Clock } from "../clock.ts";
import { TidesmanError } from "../errors.ts";
import type { Finding } from "../policy/types.ts";
import { Aggregator } from "./aggregate.ts";
import type { AuditCounts, AuditRow, Retention } from "./database.ts";
import type { AuditFilter } from "./filter.ts";
import type { FoldLimits } from "./fold.ts";
import { identifierFactory } from "./identifier.ts";
import type { AuditContainer, AuditRecord } from "./record.ts";
import type { FromStore, StoreStart, ToStore } from "./store-worker.ts";

/** Most records of one transaction. */
const BATCH = 2_000;
/** Records held open for folding. */
const OPEN_RECORDS = 10_000;
/** Milliseconds until a failed commit, or a worker that ended, is tried again. */
const RETRY = 1_000;
/** Milliseconds between looks for records that are too old. */
const PRUNE_EVERY = 60_000;

export interface AuditLogOptions {
  /** Database file. */
  readonly file: string;
  readonly host: string;
  /** Alike findings within this many milliseconds are one record. */
  readonly window: number;
  /** When alike audits of one image are one record. */
  readonly fold: FoldLimits;
  /** Records that may wait for the disk. */
  readonly queue: number;
  readonly retention: Retention;
  readonly clock: Clock;
  /** Told what an operator should know: a damaged file set aside, a disk that fails or works again. */
  readonly onNotice: (message: string) => void;
}

export interface AuditStats {
  /** Findings taken, and those of them that were folded into a record already open. */
  readonly accepted: number;
  readonly folded: number;
  /** Findings refused because too much waited for the disk. */
  readonly dropped: number;
  /** Records that wait for the disk now. */
  readonly waiting: number;
  /** Records in the database, bytes it uses, and its oldest record's latest event (milliseconds since the epoch). */
  readonly stored: number;
  readonly bytes: number;
  readonly oldest: number | null;
  /** Why nothing can be written at the moment; null when all is well. */
  readonly error: string | null;
}

export type AuditListener = (record: AuditRecord, isNew: boolean) => void;

interface Asked {
  readonly resolve: (answer: FromStore) => void;
  readonly reject: (error: TidesmanError) => void;
}

interface Flusher {
  readonly until: number;
  readonly resolve: () => void;
  readonly reject: (error: TidesmanError) => void;
}

export class AuditLog {
  readonly #options: AuditLogOptions;
  readonly #aggregator: Aggregator;
  readonly #listeners = new Set<AuditListener>();
  readonly #asked = new Map<number, Asked>();
  #worker: Worker | null = null;
  #nextNumber = 0;
  #waiting = new Map<string, AuditRow>();
  #inFlight = new Map<string, AuditRow>();
  #scheduled = false;
  #opened = false;
  #closed = false;
  /** Rows that ever began to wait, and rows committed: a flush waits until the second has caught up with the first. */
  #entered = 0;
  #written = 0;
  #flushers: Flusher[] = [];
  #counts: AuditCounts = { stored: 0, bytes: 0, oldest: null };
  #accepted = 0;
  #folded = 0;
  #dropped = 0;
  #error: string | null = null;
  #pruning: { cancel(): void } | null = null;

  /** Opens the database. Throws TM_STORE when nothing can be written there. */
  static async open(options: AuditLogOptions): Promise<AuditLog> {
    const log = new AuditLog(options);
    await log.#startWorker();
    log.#opened = true;
    log.#pruning = options.clock.every(PRUNE_EVERY, () => log.#prune());
    log.#prune();
    return log;
  }

  private constructor(options: AuditLogOptions) {
    this.#options = options;
    this.#aggregator = new Aggregator({
      host: options.host,
      window: options.window,
      limit: OPEN_RECORDS,
      fold: options.fold,
      identifier: identifierFactory(),
    });
  }

  /** Takes a finding; false when it was refused (and counted) because too much waits for the disk. */
  add(finding: Finding, container: AuditContainer | null): boolean {
    return this.take(finding, container) !== null;
  }

  /** The same; the identifier of the record that tells the finding, or null when it was refused. */
  take(finding: Finding, container: AuditContainer | null): string | null {
    if (this.#closed || !this.#hasRoomFor(finding, container)) {
      this.#dropped += finding.count;
      return null;
    }
    const { record, isNew } = this.#aggregator.add(finding, container);
    const before = this.#waiting.get(record.id);
    if (before === undefined) this.#entered++;
    this.#waiting.set(record.id, { record, isNew: isNew || (before?.isNew ?? false) });
    this.#accepted += finding.count;
    if (!isNew) this.#folded += finding.count;
    this.#schedule();
    return record.id;
  }

  /** Committed records in ascending order of identifier. Throws TM_STORE when they cannot be read. */
  async query(filter: AuditFilter): Promise<readonly AuditRecord[]> {
    const answer = await this.#ask((number) => ({ kind: "query", number, filter }));
    if (answer.kind !== "records") return [];
    return answer.texts.map((text) => JSON.parse(text) as AuditRecord);
  }

  /**
   * Calls `listener` after each commit, for every record in it; `isNew` is false for one told before, whose count has
   * risen. Returns the unsubscriber.
   */
  subscribe(listener: AuditListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  stats(): AuditStats {
    return {
      accepted: this.#accepted,
      folded: this.#folded,
      dropped: this.#dropped,
      waiting: this.#waiting.size + this.#inFlight.size,
      ...this.#counts,
      error: this.#error,
    };
  }

  /** Resolves once everything taken so far is on the disk. Throws TM_STORE when it could not be written. */
  async flush(): Promise<void> {
    if (this.#waiting.size + this.#inFlight.size === 0) return;
    if (this.#worker === null) throw storeEnded();
    await new Promise<void>((resolve, reject) => {
      this.#flushers.push({ until: this.#entered, resolve, reject });
      this.#schedule();
    });
  }

  /** Writes what waits and ends the worker. Throws TM_STORE when something could not be written. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#pruning?.cancel();
    try {
      await this.flush();
      await this.#ask((number) => ({ kind: "close", number }));
    } finally {
      const worker = this.#worker;
      this.#worker = null;
      await worker?.terminate();
    }
  }

  #hasRoomFor(finding: Finding, container: AuditContainer | null): boolean {
    if (this.#waiting.size + this.#inFlight.size < this.#options.queue) return true;
    const open = this.#aggregator.find(finding, container);
    return open !== undefined && this.#waiting.has(open.id);
  }

  /** Once per turn of the event loop, so that a burst is one batch. */
  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#send();
    });
  }

  #send(): void {
    if (this.#inFlight.size > 0 || this.#waiting.size === 0 || this.#worker === null) return;
    if (this.#waiting.size <= BATCH) {
      this.#inFlight = this.#waiting;
      this.#waiting = new Map();
    } else {
      for (const [id, row] of this.#waiting) {
        if (this.#inFlight.size >= BATCH) break;
        this.#inFlight.set(id, row);
        this.#waiting.delete(id);
      }
    }
    const rows = [...this.#inFlight.values()];
    this.#ask((number) => ({ kind: "commit", number, rows, now: this.#options.clock.now() })).then(
      () => this.#committed(rows),
      (error: unknown) => this.#failed(error instanceof TidesmanError ? error : storeEnded()),
    );
  }

  #committed(rows: readonly AuditRow[]): void {
    this.#inFlight = new Map();
    this.#written += rows.length;
    if (this.#error !== null) this.#options.onNotice("audits are written again");
    this.#error = null;
    for (const { record, isNew } of rows) this.#tell(record, isNew);
    this.#send();
    const done = this.#flushers.filter((flusher) => flusher.until <= this.#written);
    this.#flushers = this.#flushers.filter((flusher) => flusher.until > this.#written);
    for (const flusher of done) flusher.resolve();
  }

  /** What was in flight waits again, unless a later form of it does already. */
  #failed(error: TidesmanError): void {
    const rows = new Map(this.#inFlight);
    this.#inFlight = new Map();
    for (const [id, row] of this.#waiting) {
      const earlier = rows.get(id);
      if (earlier !== undefined) this.#entered--;
      rows.set(id, { record: row.record, isNew: row.isNew || (earlier?.isNew ?? false) });
    }
    this.#waiting = rows;
    this.#suffer(error);
    this.#options.clock.after(RETRY, () => this.#send());
  }

  #suffer(error: TidesmanError): void {
    if (this.#error === null) this.#options.onNotice(error.message);
    this.#error = error.message;
    for (const flusher of this.#flushers.splice(0)) flusher.reject(error);
  }

  #tell(record: AuditRecord, isNew: boolean): void {
    for (const listener of this.#listeners) {
      try {
        listener(record, isNew);
      } catch (error) {
        this.#options.onNotice(`a listener of audits failed: ${messageOf(error)}`);
      }
    }
  }

  #prune(): void {
    this.#ask((number) => ({ kind: "prune", number, now: this.#options.clock.now() })).catch(
      (error: unknown) => this.#options.onNotice(messageOf(error)),
    );
  }

  #ask(message: (number: number) => ToStore): Promise<FromStore> {
    return new Promise((resolve, reject) => {
      const worker = this.#worker;
      if (worker === null) {
        reject(storeEnded());
        return;
      }
      const number = ++this.#nextNumber;
      this.#asked.set(number, { resolve, reject });
      worker.postMessage(message(number));
    });
  }

  #startWorker(): Promise<FromStore> {
    const { file, retention, onNotice } = this.#options;
    const start: StoreStart = { file, retention };
    const path = import.meta.url.endsWith(".ts") ? "./store-worker.ts" : "./store-worker.js";
    const worker = new Worker(new URL(path, import.meta.url), { workerData: start });
    this.#worker = worker;
    const opened = new Promise<FromStore>((resolve, reject) => this.#asked.set(0, { resolve, reject }));
    worker.on("message", (answer: FromStore) => this.#answered(answer));
    worker.on("error", (error: unknown) => onNotice(`the audit worker failed: ${messageOf(error)}`));
    worker.on("exit", () => {
      if (this.#worker === worker) this.#ended();
    });
    return opened;
  }

  #answered(answer: FromStore): void {
    if (answer.kind === "setAside") {
      this.#options.onNotice(answer.message);
      return;
    }
    const asked = this.#asked.get(answer.number);
    this.#asked.delete(answer.number);
    if (answer.kind === "done") this.#counts = answer.counts;
    if (answer.kind !== "failed") asked?.resolve(answer);
    else if (asked !== undefined) asked.reject(new TidesmanError("TM_STORE", answer.message));
    else this.#options.onNotice(answer.message);
  }

  /** The worker is gone without being told to: what it was asked failed, and another is started a little later. */
  #ended(): void {
    this.#worker = null;
    for (const asked of [...this.#asked.values()]) asked.reject(storeEnded());
    this.#asked.clear();
    if (!this.#opened || this.#closed) return;
    this.#options.clock.after(RETRY, () => {
      if (this.#closed) return;
      this.#startWorker().then(
        () => this.#send(),
        (error: unknown) => this.#suffer(error instanceof TidesmanError ? error : storeEnded()),
      );
    });
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function storeEnded(): TidesmanError {
  return new TidesmanError(
    "TM_STORE",
    "the audit worker has ended; it is started again in a moment, see the log",
  );
}
