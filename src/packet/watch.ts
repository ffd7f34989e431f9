/**
 * Notices when somebody changes our rules. `nft monitor` tells of every change of the nft backend at once, and which
 * process made it; whether it touched ours is found out by looking. A slow look from time to time finds what the monitor
 * misses (sets, a lost message), and a quick one takes its place where there is no monitor.
 */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import type { Readable } from "node:stream";
import type { Clock } from "../clock.ts";
import type { Run } from "../run.ts";

export interface Watch {
  close(): void;
}

export interface WatchOptions {
  readonly run: Run;
  readonly clock: Clock;
  readonly warn: (message: string) => void;
  /** What was changed; empty when all is well. */
  readonly find: () => Promise<readonly string[]>;
  readonly repair: () => Promise<void>;
  /** Monotonic milliseconds when we ended our last change of the rules; Infinity while we are at it. */
  readonly changedAt: () => number;
  readonly onTampered: (detail: string) => void;
}

/** Milliseconds between two looks, with and without a monitor. */
const SLOW_LOOK = 30_000;
const QUICK_LOOK = 1_000;
/** A change often comes in several transactions; milliseconds to wait for the rest. */
const SETTLE = 20;
/**
 * Milliseconds that the monitor has, after a repair, to speak of the repair itself. When it has, it has also named whoever
 * made it necessary: it tells of changes in their order.
 */
const WORD = 5_000;
/** Milliseconds after a change of ours in which `iptables-restore` is taken to be ours: the monitor may be late. */
const LATE = 2_000;
/** Differences told in one message. */
const MAX_TOLD = 3;

export function watchRuleset(options: WatchOptions): Watch {
  const watcher = new RulesetWatcher(options);
  void watcher.start();
  return watcher;
}

/**
 * Whether a line of `nft monitor` may be about our rules: anything in our chains, a chain or table that disappears, or a
 * rule taken from where our jumps are. Others' rules come and go by the thousand on a Kubernetes node.
 */
export function mayConcern(line: string): boolean {
  if (line.includes("TM-")) return true;
  if (/^(delete|flush|destroy) (table|chain) ip6? (mangle|nat|filter)\b/.test(line)) return true;
  return /^(delete|replace) rule ip6? (mangle PREROUTING|nat PREROUTING|filter INPUT) /.test(line);
}

/** `iptables` and `4711` of the line that ends a transaction, or null. */
export function parseGeneration(line: string): { readonly process: string; readonly pid: number } | null {
  const match = /^# new generation \d+ by process (\d+) \((.*)\)/.exec(line);
  return match === null ? null : { pid: Number(match[1]), process: match[2]! };
}

class RulesetWatcher implements Watch {
  readonly #options: WatchOptions;
  #monitor: ChildProcessByStdio<null, Readable, Readable> | undefined;
  #suspicious = false;
  /** Who made the changes that have not been looked at yet. */
  #culprits = new Set<string>();
  /** Called when the monitor speaks of a change of ours. */
  #oursSeen: () => void = () => undefined;
  #settling: { cancel(): void } | undefined;
  #next: { cancel(): void } | undefined;
  #looking = false;
  #again = false;
  #closed = false;

  constructor(options: WatchOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    this.#next = this.#options.clock.after(QUICK_LOOK, () => void this.#look());
    const version = await this.#options.run("iptables", ["--version"]);
    if (version.stdout.includes("nf_tables")) this.#startMonitor();
  }

  close(): void {
    this.#closed = true;
    this.#settling?.cancel();
    this.#next?.cancel();
    this.#monitor?.kill();
    this.#monitor = undefined;
  }

  #startMonitor(): void {
    if (this.#closed) return;
    const monitor = spawn("nft", ["monitor"], { stdio: ["ignore", "pipe", "pipe"] });
    this.#monitor = monitor;
    let rest = "";
    monitor.stdout.setEncoding("utf8").on("data", (text: string) => {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) this.#read(line);
    });
    // It complains when it has lost messages: then only looking tells.
    monitor.stderr.on("data", () => this.#settle());
    monitor.on("error", (error) => {
      this.#monitor = undefined;
      this.#options.warn(`\`nft monitor\` cannot be used (${error.message}); looking every second instead`);
    });
    monitor.on("close", () => {
      if (this.#monitor !== monitor) return;
      this.#monitor = undefined;
      this.#settle();
      this.#options.clock.after(QUICK_LOOK, () => this.#startMonitor());
    });
  }

  #read(line: string): void {
    const generation = parseGeneration(line);
    if (generation === null) {
      this.#suspicious ||= mayConcern(line);
      return;
    }
    if (!this.#suspicious) return;
    this.#suspicious = false;
    if (this.#isOurs(generation.process)) this.#oursSeen();
    else this.#culprits.add(`${generation.process} (pid ${generation.pid})`);
    this.#settle();
  }

  /** `name`: as the kernel cuts it, to fifteen characters. */
  #isOurs(name: string): boolean {
    const { clock, changedAt } = this.#options;
    return /^ip6?tables-/.test(name) && clock.monotonic() - changedAt() < LATE;
  }

  #settle(): void {
    if (this.#closed) return;
    this.#settling ??= this.#options.clock.after(SETTLE, () => {
      this.#settling = undefined;
      void this.#look();
    });
  }

  /** Looks and repairs; a change during a look is followed by another. */
  async #look(): Promise<void> {
    if (this.#looking) {
      this.#again = true;
      return;
    }
    this.#looking = true;
    let failed = false;
    do {
      this.#again = false;
      try {
        await this.#lookOnce();
      } catch (error) {
        failed = true;
        this.#options.warn(
          `the rules could not be put right: ${error instanceof Error ? error.message : String(error)}`,
        );
      }
    } while (this.#again && !this.#closed);
    this.#looking = false;
    if (this.#closed) return;
    this.#next?.cancel();
    const wait = this.#monitor === undefined || failed ? QUICK_LOOK : SLOW_LOOK;
    this.#next = this.#options.clock.after(wait, () => void this.#look());
  }

  async #lookOnce(): Promise<void> {
    const { clock, find, repair, onTampered } = this.#options;
    const innocent = [...this.#culprits];
    const found = await find();
    if (this.#closed) return;
    if (found.length === 0) {
      // Who changed something since then may have done it too late to be found this time.
      for (const culprit of innocent) this.#culprits.delete(culprit);
      return;
    }
    const word = new Promise<void>((resolve) => {
      this.#oursSeen = resolve;
    });
    await repair();
    if (this.#culprits.size === 0 && this.#monitor !== undefined) {
      const patience = new Promise<void>((resolve) => clock.after(WORD, resolve));
      await Promise.race([word, patience]);
    }
    if (this.#closed) return;
    const culprits = this.#culprits;
    this.#culprits = new Set();
    onTampered(describe(found, culprits));
  }
}

function describe(found: readonly string[], culprits: ReadonlySet<string>): string {
  const more = found.length > MAX_TOLD ? ` and ${found.length - MAX_TOLD} more` : "";
  const who = culprits.size === 0 ? "" : `; changed by ${[...culprits].join(", ")}`;
  return `${found.slice(0, MAX_TOLD).join(", ")}${more}${who}`;
}
