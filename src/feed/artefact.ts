/**
 * Compiled feeds on disk: one file, written whole or not at all, and read by every start of the daemon.
 *
 * All numbers are unsigned 32-bit words in the byte order of the machine; offsets are bytes from the beginning.
 *
 *     word 0   magic, "TMFD" when read as bytes
 *     word 1   version of this layout; a reader refuses any but its own
 *     word 2   bytes of the file
 *     word 3   CRC-32 of everything from word 4 to the end of the description
 *     word 4   bytes of the description, which begins behind the header of 64 bytes
 *     word 5   offset of the domain set, word 6 its bytes
 *     word 7   offset of the address set, word 8 its bytes
 *
 * The description is JSON: when the feeds were compiled, from which manifest, the sources and the statuses of types.ts. The
 * two sets are as index.ts describes, each with a version and a checksum of its own, and begin at multiples of 64 bytes.
 *
 * A folder holds the generation in force (`current.feeds`) and the one before it (`previous.feeds`). A new one is written
 * beside them, forced to the disk, and takes its name by rename(2): whenever the power fails, what has the name is whole.
 * The one that was in force is first given the name `old.feeds` as well. Once `current.feeds` is another file, `old.feeds` is
 * the one before it, until it takes the name `previous.feeds`: one rename changes both, and no crash costs the older one.
 */
import {
  closeSync,
  fstatSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writevSync,
} from "node:fs";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { systemCode, TidesmanError } from "../errors.ts";
import { isWhole, STEP } from "./format.ts";
import { openFeeds } from "./index.ts";
import type { CompiledFeeds } from "./types.ts";

export const ARTEFACT_VERSION = 1;
const MAGIC = new Uint32Array(new TextEncoder().encode("TMFD").buffer)[0]!;
const HEADER_BYTES = 64;
const WORDS = HEADER_BYTES / 4;
const CHECKED_FROM = 16;

const CURRENT = "current.feeds";
const PREVIOUS = "previous.feeds";
const NEW = "new.feeds";
const OLD = "old.feeds";

/** One state of all feeds. */
export interface Generation {
  readonly feeds: CompiledFeeds;
  /** When it was compiled; milliseconds since the epoch. */
  readonly builtAt: number;
  /** SHA-256 of the manifest it was compiled from, hexadecimal. */
  readonly manifest: string;
}

/**
 * Puts a generation in force in `folder`; the one that was becomes the previous one, or (`replaces`) is forgotten and the
 * previous one stays: for one that is damaged, or holds the same lists. Throws TM_STORE, TM_NOT_PERMITTED.
 */
export function writeGeneration(
  folder: string,
  generation: Generation,
  { replaces = false }: { readonly replaces?: boolean } = {},
): void {
  const { sources, statuses, domains, addresses } = generation.feeds;
  const { builtAt, manifest } = generation;
  const description = Buffer.from(JSON.stringify({ builtAt, manifest, sources, statuses }));
  const domainsAt = aligned(HEADER_BYTES + description.length);
  const addressesAt = aligned(domainsAt + domains.byteLength);
  const header = new Uint32Array(WORDS);
  header.set([
    ...[MAGIC, ARTEFACT_VERSION, addressesAt + addresses.byteLength, 0, description.length],
    ...[domainsAt, domains.byteLength, addressesAt, addresses.byteLength],
  ]);
  const head = Buffer.from(header.buffer);
  header[3] = crc32(description, crc32(head.subarray(CHECKED_FROM)));
  const parts = [
    ...[head, description, Buffer.alloc(domainsAt - HEADER_BYTES - description.length)],
    ...[Buffer.from(domains), Buffer.alloc(addressesAt - domainsAt - domains.byteLength)],
    Buffer.from(addresses),
  ];
  storing(folder, () => {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    settle(folder);
    const file = join(folder, NEW);
    try {
      writeFile(file, parts);
    } catch (error) {
      // A full disk has no room for a part of something either.
      rmSync(file, { force: true });
      throw error;
    }
    if (replaces) {
      renameSync(file, join(folder, CURRENT));
      syncFolder(folder);
    } else advance(folder);
  });
}

/** Puts the previous generation in force, and the one in force in its place; both are there. Throws TM_STORE, TM_NOT_PERMITTED. */
export function swapGenerations(folder: string): void {
  storing(folder, () => {
    settle(folder);
    linkSync(join(folder, PREVIOUS), join(folder, NEW));
    advance(folder);
  });
}

/**
 * The generation in force (or the one before it), with everything about it checked; null when there is none. The sets lie
 * in memory that threads can share. Throws TM_FEED for a file that is truncated, corrupt or of another version, and
 * TM_NOT_PERMITTED. `pause`: called between steps of a fraction of a millisecond.
 */
export function readGeneration(
  folder: string,
  which: "current" | "previous" = "current",
  pause: () => void = () => undefined,
): Generation | null {
  const file = fileOf(folder, which);
  let descriptor: number;
  try {
    descriptor = openSync(file, "r");
  } catch (error) {
    if (systemCode(error) === "ENOENT") return null;
    throw unreadable(file, error);
  }
  try {
    return readSets(descriptor, readDescription(descriptor, file), pause);
  } catch (error) {
    throw error instanceof TidesmanError ? error : unreadable(file, error);
  } finally {
    closeSync(descriptor);
  }
}

/**
 * The sources of a generation, without its sets; none where there is no such generation. Throws as `readGeneration` does for
 * what is damaged before the sets.
 */
export function readSources(folder: string, which: "current" | "previous"): CompiledFeeds["sources"] {
  const file = fileOf(folder, which);
  let descriptor: number | undefined;
  try {
    descriptor = openSync(file, "r");
    return readDescription(descriptor, file).sources;
  } catch (error) {
    if (systemCode(error) === "ENOENT") return [];
    throw error instanceof TidesmanError ? error : unreadable(file, error);
  } finally {
    if (descriptor !== undefined) closeSync(descriptor);
  }
}

interface Description extends Pick<Generation, "builtAt" | "manifest"> {
  readonly sources: CompiledFeeds["sources"];
  readonly statuses: CompiledFeeds["statuses"];
  /** Offsets and bytes of the two sets. */
  readonly places: readonly [
    domainsAt: number,
    domainBytes: number,
    addressesAt: number,
    addressBytes: number,
  ];
}

/** Header and description, with everything about them checked. */
function readDescription(descriptor: number, file: string): Description {
  const refuse = (why: string): never => {
    throw new TidesmanError(
      "TM_FEED",
      `\`${file}\` is ${why}; \`tidesman feeds update\` compiles the feeds again`,
    );
  };
  const size = fstatSync(descriptor).size;
  if (size < HEADER_BYTES) refuse(`truncated to ${size} bytes`);
  const head = readBytes(descriptor, 0, HEADER_BYTES, new ArrayBuffer(HEADER_BYTES));
  const header = new Uint32Array(head.buffer);
  if (header[0] !== MAGIC) refuse("no artefact of compiled feeds, or of another byte order");
  if (header[1] !== ARTEFACT_VERSION)
    refuse(`of layout version ${header[1]}, where ${ARTEFACT_VERSION} is understood`);
  if (header[2] !== size) refuse(`${size} bytes long instead of ${header[2]}`);
  const [length, domainsAt, domainBytes, addressesAt, addressBytes] = header.subarray(
    4,
    9,
  ) as unknown as Five;
  const fits =
    HEADER_BYTES + length <= domainsAt &&
    domainsAt + domainBytes <= addressesAt &&
    addressesAt + addressBytes === size;
  if (!fits) refuse("corrupt (its parts do not fit)");
  const description = readBytes(descriptor, HEADER_BYTES, length, new ArrayBuffer(length));
  if (header[3] !== crc32(description, crc32(head.subarray(CHECKED_FROM)))) {
    refuse("corrupt (the checksum of its description is wrong)");
  }
  const known = JSON.parse(Buffer.from(description).toString());
  return { ...known, places: [domainsAt, domainBytes, addressesAt, addressBytes] };
}

function readSets(
  descriptor: number,
  { builtAt, manifest, sources, statuses, places }: Description,
  pause: () => void,
): Generation {
  const [domainsAt, domainBytes, addressesAt, addressBytes] = places;
  const domains = new SharedArrayBuffer(domainBytes);
  const addresses = new SharedArrayBuffer(addressBytes);
  readBytes(descriptor, domainsAt, domainBytes, domains, pause);
  readBytes(descriptor, addressesAt, addressBytes, addresses, pause);
  const feeds: CompiledFeeds = { sources, statuses, domains, addresses };
  // What is not whole is refused there, with the reason.
  openFeeds(feeds, { trusted: isWhole(domains, pause) && isWhole(addresses, pause) });
  return { feeds, builtAt, manifest };
}
type Five = readonly [number, number, number, number, number];

function readBytes(
  descriptor: number,
  at: number,
  length: number,
  into: ArrayBuffer | SharedArrayBuffer,
  pause: () => void = () => undefined,
): Uint8Array {
  const bytes = new Uint8Array(into);
  for (let done = 0; done < length; pause()) {
    const read = readSync(descriptor, bytes, done, Math.min(STEP, length - done), at + done);
    if (read === 0) throw new Error("the file ends early");
    done += read;
  }
  return bytes;
}

function writeFile(file: string, parts: readonly Uint8Array[]): void {
  const descriptor = openSync(file, "w", 0o600);
  try {
    for (const part of parts) writeAll(descriptor, part);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function writeAll(descriptor: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length; ) done += writevSync(descriptor, [bytes.subarray(done)]);
}

function fileOf(folder: string, which: "current" | "previous"): string {
  return join(folder, which === "current" ? CURRENT : isUnsettled(folder) ? OLD : PREVIOUS);
}

/** Whether a crash left the generation that is the one before under the name `old.feeds`. */
function isUnsettled(folder: string): boolean {
  const old = identityOf(join(folder, OLD));
  return old !== null && old !== identityOf(join(folder, CURRENT));
}

/** What two names of one file have in common; null where there is no file. */
function identityOf(file: string): string | null {
  const stat = statSync(file, { throwIfNoEntry: false, bigint: true });
  return stat === undefined ? null : `${stat.dev} ${stat.ino}`;
}

/** Puts `new.feeds` in force, and the generation that was in the place of the one before it. */
function advance(folder: string): void {
  const old = join(folder, OLD);
  try {
    linkSync(join(folder, CURRENT), old);
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw error;
  }
  // Each step is on the disk before the next: a disk that puts them in another order would undo what they are for.
  syncFolder(folder);
  renameSync(join(folder, NEW), join(folder, CURRENT));
  syncFolder(folder);
  settle(folder);
  syncFolder(folder);
}

/** Ends what a crash left half done. Behind it there is neither a new nor an old generation. */
function settle(folder: string): void {
  // It may be another name of the one before, which a writer would write over.
  rmSync(join(folder, NEW), { force: true });
  const old = join(folder, OLD);
  if (isUnsettled(folder)) renameSync(old, join(folder, PREVIOUS));
  // Two names of one file are left as they are by rename(2).
  rmSync(old, { force: true });
}

const NOTHING = new Int32Array(new SharedArrayBuffer(4));

/** Leaves the processor to other threads for a moment: for reading beside traffic where there are few processors. */
export function giveWay(): void {
  Atomics.wait(NOTHING, 0, 0, 0.5);
}

/** Makes renames in a folder last. */
export function syncFolder(folder: string): void {
  const descriptor = openSync(folder, "r");
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function storing(folder: string, write: () => void): void {
  try {
    write();
  } catch (error) {
    const code = systemCode(error);
    const why = error instanceof Error ? error.message : String(error);
    if (code === "EACCES" || code === "EPERM" || code === "EROFS") {
      throw new TidesmanError(
        "TM_NOT_PERMITTED",
        `\`${folder}\` may not be written by this user; run as root`,
      );
    }
    throw new TidesmanError("TM_STORE", `the feeds could not be stored in \`${folder}\`: ${why}`, {
      cause: error,
    });
  }
}

function unreadable(file: string, cause: unknown): TidesmanError {
  const code = systemCode(cause);
  if (code === "EACCES" || code === "EPERM") {
    return new TidesmanError("TM_NOT_PERMITTED", `\`${file}\` may not be read by this user; run as root`);
  }
  const why = cause instanceof Error ? cause.message : String(cause);
  return new TidesmanError("TM_FEED", `\`${file}\` cannot be read: ${why}`, { cause });
}

function aligned(offset: number): number {
  return Math.ceil(offset / HEADER_BYTES) * HEADER_BYTES;
}
