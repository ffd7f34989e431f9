/**
 * Raw and packet sockets of containers, and the processes that own them. It never decides: the container's rule says what
 * such a socket is worth.
 *
 * Two sources. The tables of each namespace are read in turn: they show what stands, whoever opened it and when. Where the
 * kernel lets us, a trace of socket(2) shows the rest: what a process opened and closed between two looks. A trace comes by
 * thread, and whose that is only /proc can tell, so it is asked at once; a process that has been reaped by then leaves a
 * socket that nobody can be found for, which is counted (`status().unattributed`).
 *
 * A process is told once for each kind of socket and command, and again after it rested. `ping` without privileges opens an
 * ICMP socket of type SOCK_DGRAM, which is none of these; that of busybox opens a raw one, `tcpdump` and `arping` packet
 * sockets.
 */
import type { Clock } from "../clock.ts";
import type { WatchedNamespace, WatchedNamespaces } from "./sockets/namespaces.ts";
import type { ProcessTable, SocketProcess } from "./sockets/processes.ts";
import type { RawTableEntry } from "./sockets/raw-tables.ts";
import type { TraceRecord } from "./sockets/trace-instance.ts";

/** A share of the namespaces' tables is read at each of the steps of an interval. */
const SCAN_STEPS = 10;
/** A call counts when no failure of it has followed for so long, milliseconds. */
const CONFIRM = 20;
/**
 * Records and reads of a trace in one second, after which it is read only every PAUSE milliseconds: a container that opens
 * sockets in a loop must not take the thread. What the buffer cannot keep meanwhile is lost, and counted.
 */
const MAX_RATE = 256;
const PAUSE = 250;
/** A matter that was not seen for so long is told again, milliseconds. */
const RESTED = 600_000;
/** Different kinds of sockets and commands told of one container; commands are the container's to name. */
const MAX_TOLD = 64;
/** What a trace says where it did not keep the name (kernel/trace/trace_sched_switch.c). */
const NAMELESS: ReadonlySet<string> = new Set(["", "<...>"]);
/** Calls that wait to be confirmed. */
const MAX_PENDING = 4096;

export interface RawSocket {
  /** Container id. */
  readonly container: string;
  readonly socket: "raw" | "packet";
  /** IP protocol number, or EtherType of a packet socket. */
  readonly protocol: number;
  /** Host pid and name of the process; 0 and empty when it was not found. */
  readonly pid: number;
  readonly command: string;
}

/** What a trace of socket(2) offers (TraceInstance). */
export interface RawSocketTrace {
  readonly descriptor: number;
  read(): { readonly records: readonly TraceRecord[]; readonly more: boolean };
  close(): void;
}

export interface RawSocketsOptions {
  readonly namespaces: WatchedNamespaces;
  readonly processes: ProcessTable;
  /** The tables of the namespace that the process lives in. */
  readonly tables: (pid: number) => readonly RawTableEntry[];
  /** Throws an Error that says why there can be no trace. */
  readonly openTrace: () => RawSocketTrace;
  readonly watchReadable: (descriptor: number, onReadable: () => void) => () => void;
  readonly clock: Clock;
  /** Every namespace's tables are read so often; milliseconds. */
  readonly interval: number;
  readonly onRawSocket: (socket: RawSocket) => void;
}

export interface RawSocketsStatus {
  /** `trace`: short-lived sockets are seen too; `tables`: only what stands when it is looked for. */
  readonly source: "trace" | "tables";
  /** Why there is no trace; null when there is one. */
  readonly reason: string | null;
  /** Sockets whose process was gone before it could be asked for. */
  readonly unattributed: number;
  /** Calls that the kernel could not keep, or that came faster than they could be looked at. */
  readonly lost: number;
  /** Calls that failed, for want of CAP_NET_RAW mostly. */
  readonly refused: number;
}

interface PendingCall {
  readonly due: number;
  readonly container: string;
  readonly call: Extract<TraceRecord, { kind: "call" }>;
  readonly process: SocketProcess;
}

export class RawSockets {
  readonly #options: RawSocketsOptions;
  #trace: RawSocketTrace | null = null;
  #unwatch: (() => void) | null = null;
  #reason: string | null = "it was not started";
  readonly #timers: { cancel(): void }[] = [];
  #confirming = false;
  /** Calls in the order they came. */
  #pending: PendingCall[] = [];
  /** By namespace: the sockets of the latest look. */
  readonly #known = new Map<number, ReadonlySet<number>>();
  /** By container, then by kind and command: when it was seen last. */
  readonly #told = new Map<string, Map<string, number>>();
  #due: WatchedNamespace[] = [];
  #step = 0;
  #share = 0;
  /** The second that is counted, and what came in it. */
  #second = { began: 0, count: 0 };
  #unattributed = 0;
  #lost = 0;
  #refused = 0;

  constructor(options: RawSocketsOptions) {
    this.#options = options;
  }

  start(): void {
    if (this.#timers.length > 0) return;
    const { clock, interval, openTrace } = this.#options;
    this.#timers.push(clock.every(interval / SCAN_STEPS, () => this.#next()));
    try {
      this.#trace = openTrace();
      this.#reason = null;
      this.#watch();
    } catch (error) {
      this.#endTrace(error instanceof Error ? error.message : String(error));
    }
  }

  stop(): void {
    for (const timer of this.#timers.splice(0)) timer.cancel();
    this.#endTrace("it was stopped");
    this.#pending = [];
  }

  /** Which source is in use, and why. */
  status(): RawSocketsStatus {
    return {
      source: this.#trace === null ? "tables" : "trace",
      reason: this.#reason,
      unattributed: this.#unattributed,
      lost: this.#lost,
      refused: this.#refused,
    };
  }

  forget(container: string): void {
    this.#told.delete(container);
  }

  /** Reads the tables of every namespace at once. */
  scan(): void {
    this.#begin();
    this.#look(this.#due.length);
  }

  // ---------------------------------------------------------------------------------------------- trace

  #watch(): void {
    const trace = this.#trace;
    if (trace === null) return;
    this.#unwatch = this.#options.watchReadable(trace.descriptor, () => this.#read());
  }

  #read(): void {
    const trace = this.#trace;
    if (trace === null) return;
    let calm: boolean;
    try {
      const { records, more } = trace.read();
      calm = this.#isCalm(records.length + 1) && !more;
      this.#take(records);
    } catch (error) {
      this.#endTrace(error instanceof Error ? error.message : String(error));
      return;
    }
    if (calm) return;
    this.#unwatch?.();
    this.#unwatch = null;
    this.#options.clock.after(PAUSE, () => {
      if (this.#trace !== trace || this.#unwatch !== null) return;
      this.#watch();
      this.#read();
    });
  }

  #isCalm(count: number): boolean {
    const now = this.#options.clock.monotonic();
    if (now - this.#second.began >= 1000) this.#second = { began: now, count: 0 };
    this.#second.count += count;
    return this.#second.count <= MAX_RATE;
  }

  #endTrace(reason: string): void {
    this.#reason = reason;
    this.#unwatch?.();
    this.#unwatch = null;
    this.#trace?.close();
    this.#trace = null;
  }

  #take(records: readonly TraceRecord[]): void {
    const { clock, namespaces, processes } = this.#options;
    const now = clock.monotonic();
    // A process that opens many in one batch is asked for once.
    const asked = new Map<number, SocketProcess | undefined>();
    for (const record of records) {
      if (record.kind === "lost") this.#lost += record.count;
      else if (record.kind === "failure") this.#fail(record.thread);
      else if (this.#pending.length >= MAX_PENDING) this.#lost++;
      else {
        const { thread } = record;
        if (!asked.has(thread)) asked.set(thread, processes.find(thread));
        const process = asked.get(thread);
        if (process === undefined) {
          this.#unattributed++;
          continue;
        }
        const container = namespaces.containerOf(process);
        if (container === null) continue;
        this.#pending.push({ due: now + CONFIRM, container, call: record, process });
      }
    }
    this.#confirmLater();
  }

  /** The latest call of the thread was refused: a thread makes one at a time. */
  #fail(thread: number): void {
    const index = this.#pending.findLastIndex(({ call }) => call.thread === thread);
    if (index < 0) return;
    this.#pending.splice(index, 1);
    this.#refused++;
  }

  #confirmLater(): void {
    if (this.#confirming || this.#pending.length === 0) return;
    this.#confirming = true;
    this.#options.clock.after(CONFIRM, () => {
      this.#confirming = false;
      const now = this.#options.clock.monotonic();
      const due = this.#pending.filter((pending) => pending.due <= now);
      this.#pending = this.#pending.filter((pending) => pending.due > now);
      for (const { container, call, process } of due) {
        // The name as it was when the socket was opened; an exec may have changed it since.
        const command = NAMELESS.has(call.command) ? process.command : call.command;
        this.#tell({ container, socket: call.socket, protocol: call.protocol, pid: process.pid, command });
      }
      this.#confirmLater();
    });
  }

  // ---------------------------------------------------------------------------------------------- tables

  #next(): void {
    if (this.#step === 0) this.#begin();
    this.#step = (this.#step + 1) % SCAN_STEPS;
    this.#look(this.#step === 0 ? this.#due.length : this.#share);
  }

  #begin(): void {
    this.#due = this.#options.namespaces.list();
    this.#share = Math.ceil(this.#due.length / SCAN_STEPS);
    const living = new Set(this.#due.map(({ inode }) => inode));
    for (const inode of this.#known.keys()) if (!living.has(inode)) this.#known.delete(inode);
  }

  #look(count: number): void {
    const { namespaces, processes, tables } = this.#options;
    for (const namespace of this.#due.splice(0, count)) {
      if (namespace.pid === 0) continue;
      const entries = tables(namespace.pid);
      const known = this.#known.get(namespace.inode);
      const news = entries.filter(({ inode }) => known?.has(inode) !== true);
      this.#known.set(namespace.inode, new Set(entries.map(({ inode }) => inode)));
      if (news.length === 0) continue;
      const holders = processes.holders(new Set(news.map(({ inode }) => inode)), namespace.inode);
      for (const { socket, protocol, inode } of news) {
        const process = holders.get(inode);
        const owner = process === undefined ? null : namespaces.containerOf(process);
        const container =
          owner !== null && namespace.containers.includes(owner) ? owner : namespace.containers[0];
        if (container === undefined) continue;
        this.#tell({
          container,
          socket,
          protocol,
          pid: process?.pid ?? 0,
          command: process?.command ?? "",
        });
      }
    }
  }

  #tell(found: RawSocket): void {
    const now = this.#options.clock.monotonic();
    const told = this.#told.get(found.container) ?? new Map<string, number>();
    this.#told.set(found.container, told);
    const key = `${found.socket} ${found.command}`;
    const seen = told.get(key);
    if (seen === undefined && told.size >= MAX_TOLD) {
      for (const [other, last] of told) if (now - last >= RESTED) told.delete(other);
      if (told.size >= MAX_TOLD) return;
    }
    told.set(key, now);
    if (seen === undefined || now - seen >= RESTED) this.#options.onRawSocket(found);
  }
}
