/** The generation that an update begins with, and what tells the next one from it. */
import { TidesmanError } from "../errors.ts";
import { type Generation, readGeneration } from "./artefact.ts";
import type { FeedList } from "./compile.ts";
import type { CompiledFeeds, FeedStatus } from "./types.ts";

export interface LastGeneration {
  /** The one in force, or the one before it where that is not there or cannot be read; null when there is none. */
  readonly generation: Generation | null;
  readonly inForce: boolean;
}

/** `warnings`: takes why a generation cannot be read; `pause`: as `readGeneration` has it. Throws TM_NOT_PERMITTED. */
export function lastGeneration(folder: string, warnings: string[], pause?: () => void): LastGeneration {
  for (const which of ["current", "previous"] as const) {
    try {
      const generation = readGeneration(folder, which, pause);
      if (generation !== null) return { generation, inForce: which === "current" };
    } catch (error) {
      if (!(error instanceof TidesmanError) || error.code === "TM_NOT_PERMITTED") throw error;
      warnings.push(error.message);
    }
  }
  return { generation: null, inForce: false };
}

/** Whether the lists are, to every decision, what was compiled before. */
export function isSame(before: CompiledFeeds, lists: readonly FeedList[]): boolean {
  if (before.sources.length !== lists.length) return false;
  return lists.every(({ source, status }, index) => {
    const known = before.sources[index]!;
    const was = before.statuses[index]!;
    return (
      JSON.stringify(known) === JSON.stringify(source) &&
      was.digest === status.digest &&
      was.entries === status.entries &&
      (was.error === null) === (status.error === null)
    );
  });
}

/** Whether every feed has the list that it had, whatever else is said of it. */
export function hasSameLists(before: CompiledFeeds, lists: readonly FeedList[]): boolean {
  const had = new Set(before.statuses.map(listKey).filter((key) => key !== null));
  const has = lists.map(({ status }) => listKey(status)).filter((key) => key !== null);
  return had.size === has.length && has.every((key) => had.has(key));
}

/** Feeds that have another list now than `before`. */
export function takenSince(before: CompiledFeeds | undefined, { statuses }: CompiledFeeds): string[] {
  const had = new Set(before?.statuses.map(listKey));
  return statuses.filter((status) => status.entries > 0 && !had.has(listKey(status))).map(({ name }) => name);
}

function listKey({ name, kind, digest }: FeedStatus): string | null {
  return digest === undefined ? null : `${name} ${kind} ${digest}`;
}
