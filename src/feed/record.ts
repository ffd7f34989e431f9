/** What is remembered of each feed between updates, in one small JSON file beside the compiled feeds. */
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { systemCode, TidesmanError } from "../errors.ts";
import { syncFolder } from "./artefact.ts";
import { NO_STANDING } from "./release.ts";

const count = z.number().nonnegative();
const standing = z.object({
  candidate: z.string().nullable(),
  candidateSince: z.number(),
  candidateSeen: z.number(),
  smallSince: z.number().nullable(),
  smallSeen: z.number(),
  lookedAt: z.number(),
  rejected: z.string().nullable(),
  approved: z.string().nullable(),
  peak: z.object({ count, at: z.number() }).nullable().default(null),
});
const samples = z.array(z.string());
const changes = z.object({
  added: count,
  removed: count,
  addedSamples: samples,
  removedSamples: samples,
  newlyHit: z.array(z.object({ model: z.string(), name: z.string(), entry: z.string() })),
});
const TROUBLES = ["failing", "waiting", "stale"] as const;
const record = z.object({
  standing: standing.default(NO_STANDING),
  /** `inUse`: what the source last gave is in force. Otherwise `message` says what is wrong, and the list before it stays. */
  state: z.enum(["inUse", "notFetched", "failed", "quarantined", "held", "refused"]),
  message: z.string().nullable(),
  /** Milliseconds since the epoch: the last look at the source, and the last one that it answered well; null: never. */
  checkedAt: z.number().nullable(),
  goodAt: z.number().nullable(),
  /** Since when it is named and enabled; null: nobody has looked at the manifest since. */
  wantedSince: z.number().nullable().default(null),
  /** What is wrong with it that a scheduled update has told; null: nothing. */
  told: z.enum(TROUBLES).nullable().default(null),
  /** When it is due again. */
  dueAt: z.number(),
  /** How and where the last look went, as `protocol URL`; null: never. Another source is due at once. */
  source: z.string().nullable().default(null),
  /** Failed looks since the last good one. */
  failures: count,
  /** What the latest list that differed changes or, while it waits, would change. */
  changes: changes.nullable(),
  /** Entries left out: popular names, or addresses in internal networks. */
  guarded: z.object({ removed: count, samples }),
});
const FILE = z.object({ version: z.literal(1), feeds: z.record(z.string(), record) });

export type FeedRecord = z.output<typeof record>;
export type FeedRecords = Readonly<Record<string, FeedRecord>>;
/** What an operator has to know about a feed: its source gives nothing good, a list waits for him, nothing good came for long. */
export type Trouble = (typeof TROUBLES)[number];
const NAME = "records.json";

export const NEW_RECORD: FeedRecord = Object.freeze({
  standing: NO_STANDING,
  state: "notFetched",
  message: null,
  checkedAt: null,
  goodAt: null,
  wantedSince: null,
  told: null,
  dueAt: 0,
  source: null,
  failures: 0,
  changes: null,
  guarded: { removed: 0, samples: [] },
});

/** None where there is no file; a file that cannot be understood counts as none: it holds nothing that a look does not tell again. */
export function readRecords(folder: string): FeedRecords {
  try {
    return FILE.parse(JSON.parse(readFileSync(join(folder, NAME), "utf8"))).feeds;
  } catch (error) {
    const code = systemCode(error);
    if (code !== "" && code !== "ENOENT") {
      throw new TidesmanError(
        "TM_NOT_PERMITTED",
        `\`${join(folder, NAME)}\` cannot be read (${code}); run as root`,
      );
    }
    return {};
  }
}

/** Whole or not at all. Throws TM_NOT_PERMITTED, TM_STORE. */
export function writeRecords(folder: string, feeds: FeedRecords): void {
  const file = join(folder, NAME);
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const descriptor = openSync(`${file}.new`, "w", 0o600);
    try {
      // All of it or an error, where `writeSync` may stop at the last free block of a disk.
      writeFileSync(descriptor, JSON.stringify({ version: 1, feeds }));
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
    renameSync(`${file}.new`, file);
    syncFolder(folder);
  } catch (error) {
    const code = systemCode(error);
    const denied = code === "EACCES" || code === "EPERM" || code === "EROFS";
    throw new TidesmanError(
      denied ? "TM_NOT_PERMITTED" : "TM_STORE",
      `\`${file}\` could not be written (${code}); ${denied ? "run as root" : "is the disk full?"}`,
      { cause: error },
    );
  }
}
