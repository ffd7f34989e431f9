/**
 * Fetched lists of feeds that nobody names any more. They are removed once no generation on the disk has the feed either, so
 * that a feed which is taken out of feeds.yaml by mistake is back without a transfer. What is removed has to be ours without
 * a doubt: a file with the digest that its validators name, a folder of events, a draft.
 */
import { createHash } from "node:crypto";
import {
  closeSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmdirSync,
  rmSync,
} from "node:fs";
import { join } from "node:path";
import { systemCode } from "../errors.ts";
import { parseStored, type Stored } from "./fetch/store.ts";

const DRAFT = /^\.(.+)\.[\da-f]{8}\.tmp$/;
const DIGEST = /^[\da-f]{64}$/;
/** Of a folder of events (fetch/misp.ts). */
const EVENT = /^(?:manifest|[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12})\.json$/i;

/**
 * Removes what is left in the folder `bodies` of lists that are not in `wanted`; the names of those lists. Nothing may be
 * fetched meanwhile. What cannot be removed stays.
 */
export function removeLeftovers(bodies: string, wanted: ReadonlySet<string>): string[] {
  const removed: string[] = [];
  for (const name of namesIn(bodies)) {
    const path = join(bodies, name);
    const [, drafted] = DRAFT.exec(name) ?? [];
    if (drafted !== undefined) {
      if (!wanted.has(drafted) && !wanted.has(drafted.replace(/\.json$/, ""))) removeFile(path);
      continue;
    }
    // Each list is told by its validators: without them nothing says that a body is ours.
    const list = name.replace(/\.json$/, "");
    if (list === name || wanted.has(list)) continue;
    const stored = isFile(path) ? parseStored(textOf(path)) : null;
    if (stored === null || !DIGEST.test(stored.sha256) || !removeBody(join(bodies, list), stored)) continue;
    removeFile(path);
    removed.push(list);
  }
  return removed;
}

/** Whether there may be something to remove: as cheap as reading a folder. */
export function mayHaveLeftovers(bodies: string, wanted: ReadonlySet<string>): boolean {
  return namesIn(bodies).some((name) => {
    const list = (DRAFT.exec(name)?.[1] ?? name).replace(/\.json$/, "");
    return !wanted.has(list);
  });
}

/** Removes the body; whether it is gone, and was ours. */
function removeBody(path: string, stored: Stored): boolean {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return true;
  if (stat.isFile()) return digestOf(path) === stored.sha256 && removeFile(path);
  if (!stat.isDirectory() || digestOf(join(path, "manifest.json")) !== stored.sha256) return false;
  for (const name of namesIn(path)) {
    if ((EVENT.test(name) || DRAFT.test(name)) && isFile(join(path, name))) removeFile(join(path, name));
  }
  try {
    rmdirSync(path);
    return true;
  } catch {
    // Somebody keeps something else there.
    return false;
  }
}

function removeFile(path: string): boolean {
  try {
    rmSync(path);
    return true;
  } catch (error) {
    return systemCode(error) === "ENOENT";
  }
}

/** Whether it is a file, and no link to one. */
function isFile(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isFile() === true;
}

function namesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

/** SHA-256 of a file, lower-case hexadecimal; null where it cannot be read. */
function digestOf(path: string): string | null {
  const hash = createHash("sha256");
  let descriptor: number | undefined;
  try {
    descriptor = openSync(path, "r");
    const chunk = Buffer.alloc(1 << 20);
    for (let read = readSync(descriptor, chunk); read > 0; read = readSync(descriptor, chunk)) {
      hash.update(chunk.subarray(0, read));
    }
    return hash.digest("hex");
  } catch {
    return null;
  } finally {
    if (descriptor !== undefined) closeSync(descriptor);
  }
}
