/** The blocked containers on disk: what has to be undone, and who stays blocked when the daemon starts again. */
import { WholeFile } from "../whole-file.ts";
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

/** `path`: usually `blocked.json` in the state folder. */
export function blockedFile(path: string): WholeFile<BlockedState> {
  return new WholeFile(path, { version: 1, empty: { containers: [], stops: [] }, decode });
}

function decode({ containers, stops }: Readonly<Record<string, unknown>>): BlockedState | null {
  if (!Array.isArray(containers)) return null;
  const named = containers.map(renamed);
  if (!named.every(isBlocked)) return null;
  // A file of an earlier version has no list of stops: then each block is one.
  const counted: readonly unknown[] = Array.isArray(stops) ? stops : named;
  return {
    containers: named,
    stops: counted.filter(isStop).map(({ id, time }) => ({ id, time })),
  };
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
