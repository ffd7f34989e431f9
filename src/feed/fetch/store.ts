/**
 * Bodies of fetched lists on disk, and beside each (`.json`) what its server said about it. A body is replaced at once
 * (written under a name of its own, synced, renamed), and before its validators: after a crash between the two they name
 * another body than is there, and the list is fetched whole.
 */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { type FileHandle, mkdir, open, readdir, readFile, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { createGunzip, createZstdDecompress } from "node:zlib";
import { systemCode } from "../../errors.ts";
import { checkText, FeedBodyError, field, MAX_BODY, MAX_UNPACKED } from "../list/body.ts";
import { DECODER, damaged } from "./transfer.ts";

/** What is known about a stored body. */
export interface Stored {
  /** Of the request that brought it: where from, and with which kind of credentials; never what they are. */
  readonly source: string;
  /** Where it came from in the end, without what is secret. */
  readonly url: string;
  readonly etag: string | null;
  readonly lastModified: string | null;
  /** Lower-case hexadecimal, of the body as stored. */
  readonly sha256: string;
  /** Bytes as stored. */
  readonly size: number;
  /** Milliseconds since the epoch. */
  readonly fetchedAt: number;
  /** How the stored body is packed. */
  readonly packing: Packing;
}

/** Drafts of one body at once; two where a packed one is unpacked. */
const MAX_NAMES = 8;

export type Packing = "gzip" | "zstd" | "none";

/** A body being written; either `keep` or `drop` ends it. */
export interface Draft {
  write(chunk: Uint8Array): Promise<void>;
  /** Bytes so far, and their digest; nothing can be written after it. */
  finish(): Promise<{ readonly size: number; readonly sha256: string }>;
  readonly path: string;
  /** Puts it in the place of the body. */
  keep(): Promise<void>;
  drop(): Promise<void>;
}

/** A draft of the file `path`, in its folder, which is made where there is none. `random`: 0 up to 1. */
export async function draft(path: string, random: () => number): Promise<Draft> {
  const folder = dirname(path);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const { name, file } = await create(folder, basename(path), random);
  const hash = createHash("sha256");
  let size = 0;
  return {
    path: name,
    async write(chunk) {
      hash.update(chunk);
      size += chunk.length;
      await writeAll(file, chunk);
    },
    async finish() {
      await file.sync();
      await file.close();
      return { size, sha256: hash.digest("hex") };
    },
    async keep() {
      if (await isEventFolder(path)) await rm(path, { recursive: true, force: true });
      await rename(name, path);
      await syncFolder(folder);
    },
    async drop() {
      await file.close().catch(() => {});
      await rm(name, { force: true });
    },
  };
}

/** Whether there is a folder that the protocol `misp` kept; any other is not ours to remove. */
async function isEventFolder(path: string): Promise<boolean> {
  try {
    return (await readdir(path)).some((name) => /^(?:manifest|[\da-f-]{36})\.json$/i.test(name));
  } catch {
    return false;
  }
}

/** Makes the folder `path`, in the place of a file that another protocol kept there. */
export async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: 0o700 });
  } catch (error) {
    if (systemCode(error) !== "EEXIST") throw error;
    await rm(path);
    await mkdir(path, { mode: 0o700 });
  }
}

/** A new file `.BODY.XXXXXXXX.tmp`; another than those that are there. */
async function create(
  folder: string,
  body: string,
  random: () => number,
): Promise<{ readonly name: string; readonly file: FileHandle }> {
  const first = Math.floor(random() * 2 ** 32);
  for (let attempt = 0; ; attempt++) {
    const suffix = ((first + attempt) % 2 ** 32).toString(16).padStart(8, "0");
    const name = join(folder, `.${body}.${suffix}.tmp`);
    try {
      return { name, file: await open(name, "wx", 0o600) };
    } catch (error) {
      if (systemCode(error) !== "EEXIST" || attempt === MAX_NAMES) throw error;
    }
  }
}

async function writeAll(file: FileHandle, chunk: Uint8Array): Promise<void> {
  for (let at = 0; at < chunk.length; ) {
    at += (await file.write(chunk, at)).bytesWritten;
  }
}

/** Puts `body` in the place of the file `path`, by way of a draft. */
export async function replace(
  path: string,
  body: Uint8Array,
  random: () => number,
): Promise<{ readonly size: number; readonly sha256: string }> {
  const written = await draft(path, random);
  try {
    await written.write(body);
    const digest = await written.finish();
    await written.keep();
    return digest;
  } finally {
    await written.drop();
  }
}

/** Makes names that were renamed or removed in `folder` last. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Removes drafts of `path` that a crash left behind; with `all`, those of every file in the folder `path`. */
export async function sweep(path: string, all = false): Promise<void> {
  const folder = all ? path : dirname(path);
  const own = `.${basename(path)}.`;
  for (const name of await names(folder)) {
    const [draftName] = /^\..+\.[\da-f]{8}\.tmp$/.exec(name) ?? [];
    if (draftName === undefined) continue;
    if (
      all ||
      [own, `.${basename(path)}.json.`].some(
        (start) => name.startsWith(start) && name.length === start.length + 12,
      )
    ) {
      await rm(join(folder, name), { force: true });
    }
  }
}

/** Names in `folder`; none where there is no such folder. */
export async function names(folder: string): Promise<readonly string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return [];
    throw error;
  }
}

/** What is known about the body at `path`, if `body` (for a folder, the file in it that speaks for all) is still that one. */
export async function stored(path: string, body = path): Promise<Stored | null> {
  const known = await readStored(`${path}.json`);
  if (known === null) return null;
  const hash = createHash("sha256");
  try {
    let size = 0;
    for await (const chunk of createReadStream(body)) {
      hash.update(chunk);
      size += chunk.length;
    }
    return size === known.size && hash.digest("hex") === known.sha256 ? known : null;
  } catch {
    return null;
  }
}

/** What the last whole fetch to `path` was bound to, whatever became of the body; null where there was none. */
export async function storedSource(path: string): Promise<string | null> {
  return (await readStored(`${path}.json`))?.source ?? null;
}

async function readStored(path: string): Promise<Stored | null> {
  try {
    return parseStored(await readFile(path, "utf8"));
  } catch {
    return null;
  }
}

/** What a file beside a body says; null where it says nothing that can be understood. */
export function parseStored(written: string): Stored | null {
  let value: unknown;
  try {
    value = JSON.parse(written);
  } catch {
    return null;
  }
  if (typeof value !== "object" || value === null) return null;
  const text = (key: string): string => {
    const found = field(value, key);
    return typeof found === "string" ? found : "";
  };
  const number = (key: string): number => {
    const found = field(value, key);
    return typeof found === "number" ? found : -1;
  };
  const packing = text("packing");
  return {
    source: text("source"),
    url: text("url"),
    etag: text("etag") || null,
    lastModified: text("lastModified") || null,
    sha256: text("sha256"),
    size: number("size"),
    fetchedAt: number("fetchedAt"),
    packing: packing === "gzip" || packing === "zstd" ? packing : "none",
  };
}

export async function writeStored(path: string, known: Stored, random: () => number): Promise<void> {
  await replace(`${path}.json`, Buffer.from(`${JSON.stringify(known)}\n`), random);
}

/**
 * Reads the file `path` as the reader of lists will, and tells how it is packed. Throws `FeedBodyError` or `FetchFailure`
 * for one that unpacks to too much, is cut short, or is no text. Nothing of it is held.
 */
export async function inspect(path: string): Promise<Packing> {
  const start = await head(path);
  const packing: Packing = start.subarray(0, 2).equals(GZIP)
    ? "gzip"
    : start.subarray(0, 4).equals(ZSTD)
      ? "zstd"
      : "none";
  const limit = packing === "none" ? MAX_BODY : MAX_UNPACKED;
  const file = createReadStream(path);
  const source =
    packing === "none"
      ? file
      : file.pipe(packing === "gzip" ? createGunzip(DECODER) : createZstdDecompress(DECODER));
  file.on("error", (error) => source.destroy(error));
  let first = Buffer.alloc(0);
  let size = 0;
  try {
    for await (const chunk of source) {
      const bytes: Buffer = chunk;
      size += bytes.length;
      if (size > limit) throw new FeedBodyError(`the ${packing} body unpacks to more than ${limit} bytes`);
      if (first.length < HEAD) first = Buffer.concat([first, bytes.subarray(0, HEAD - first.length)]);
      // A byte 0 anywhere makes a body binary; checkText is told of it without the rest.
      if (bytes.includes(0)) checkText(Uint8Array.of(0));
    }
  } catch (error) {
    throw damaged(error);
  } finally {
    file.destroy();
  }
  checkText(first);
  return packing;
}

/** Bytes of the beginning that tell a text list. */
const HEAD = 4096;
const GZIP = Buffer.of(0x1f, 0x8b);
const ZSTD = Buffer.of(0x28, 0xb5, 0x2f, 0xfd);

async function head(path: string): Promise<Buffer> {
  const file = await open(path, "r");
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(4), 0, 4, 0);
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}
