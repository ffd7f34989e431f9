/**
 * The blocked containers on disk: what has to be undone, and who stays blocked when the daemon starts again. Written
 * whole to a new file, synced, and renamed over the old one, so that a crash leaves either the old list or the new.
 */
import { open, readFile, rename } from "node:fs/promises";
import { dirname } from "node:path";
import { systemCode, TidesmanError } from "../errors.ts";
import type { Stop } from "./breaker.ts";
import type { RestartPolicy } from "./engine.ts";

export interface BlockedContainer {
  readonly id: string;
  readonly name: string;
  readonly image: string;
  readonly reason: string;
  /** When it was blocked, milliseconds since the epoch. */
  readonly time: number;
  readonly action: "stop" | "pause" | "isolate";
  /** What `unblock` restores; null while the engine could not be asked. */
  readonly restartPolicy: RestartPolicy | null;
  /** Whether it ran when it was blocked, so that `unblock` lets it run again. */
  readonly ran: boolean;
  /** Every address it was seen with while blocked. */
  readonly addresses: readonly string[];
  /** Since when the engine knows it no longer, milliseconds since the epoch; null while it does. */
  readonly goneAt: number | null;
}

/** What the file holds. */
export interface BlockedState {
  readonly containers: readonly BlockedContainer[];
  /** What the circuit breaker counts. */
  readonly stops: readonly Stop[];
}

const VERSION = 1;
const NOTHING: BlockedState = { containers: [], stops: [] };

export class BlockedFile {
  readonly #directory: string;
  readonly #path: string;
  #writing: Promise<void> = Promise.resolve();

  constructor(path: string) {
    this.#directory = dirname(path);
    this.#path = path;
  }

  /**
   * Empty when there is no file. One that cannot be understood is set aside (`.unreadable` behind its name) and reported
   * by `onUnreadable`, since a daemon that does not start protects nobody.
   */
  async read(onUnreadable: (message: string) => void): Promise<BlockedState> {
    let text: string;
    try {
      text = await readFile(this.#path, "utf8");
    } catch (error) {
      if (systemCode(error) === "ENOENT") return NOTHING;
      throw new TidesmanError("TM_STORE", `cannot read \`${this.#path}\`: ${systemCode(error)}`, {
        cause: error,
      });
    }
    const state = decode(text);
    if (state !== null) return state;
    const aside = `${this.#path}.unreadable`;
    await rename(this.#path, aside);
    onUnreadable(`\`${this.#path}\` cannot be understood and was set aside as \`${aside}\``);
    return NOTHING;
  }

  /** Resolves once the list is on the disk. Calls are carried out one after the other. */
  write(state: BlockedState): Promise<void> {
    const text = `${JSON.stringify({ version: VERSION, ...state }, null, 2)}\n`;
    const written = this.#writing.then(() => this.#replace(text));
    this.#writing = written.catch(() => undefined);
    return written;
  }

  async #replace(text: string): Promise<void> {
    try {
      const temporary = `${this.#path}.new`;
      const file = await open(temporary, "w", 0o600);
      try {
        await file.writeFile(text);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(temporary, this.#path);
      const directory = await open(this.#directory, "r");
      try {
        await directory.sync();
      } finally {
        await directory.close();
      }
    } catch (error) {
      throw new TidesmanError("TM_STORE", `cannot write \`${this.#path}\`: ${systemCode(error)}`, {
        cause: error,
      });
    }
  }
}

function decode(text: string): BlockedState | null {
  try {
    const { version, containers, stops } = JSON.parse(text) as Record<string, unknown>;
    if (version !== VERSION || !Array.isArray(containers)) return null;
    const named = containers.map(renamed);
    if (!named.every(isBlocked)) return null;
    // A file of an earlier version has no list of stops: then each block is one.
    const counted: readonly unknown[] = Array.isArray(stops) ? stops : named;
    return {
      containers: named,
      stops: counted.filter(isStop).map(({ id, time }) => ({ id, time })),
    };
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof TypeError) return null;
    throw error;
  }
}

/** `kill` is what `stop` was called first. */
function renamed(value: unknown): unknown {
  const item = value as { action?: unknown } | null;
  return item?.action === "kill" ? { ...item, action: "stop" } : value;
}

function isStop(value: unknown): value is Stop {
  const item = value as Partial<Stop> | null;
  return typeof item?.id === "string" && typeof item.time === "number";
}

function isBlocked(value: unknown): value is BlockedContainer {
  const item = value as Partial<BlockedContainer> | null;
  return (
    typeof item === "object" &&
    item !== null &&
    typeof item.id === "string" &&
    typeof item.name === "string" &&
    typeof item.image === "string" &&
    typeof item.reason === "string" &&
    typeof item.time === "number" &&
    (item.action === "stop" || item.action === "pause" || item.action === "isolate") &&
    (item.restartPolicy === null ||
      (typeof item.restartPolicy?.name === "string" &&
        typeof item.restartPolicy.maximumRetryCount === "number")) &&
    typeof item.ran === "boolean" &&
    Array.isArray(item.addresses) &&
    item.addresses.every((address) => typeof address === "string") &&
    (item.goneAt === null || typeof item.goneAt === "number")
  );
}
