/** The body of a list before any line of it is read: unpacked, and refused where it cannot be a text list. */
import { brotliDecompressSync, gunzipSync, zstdDecompressSync } from "node:zlib";
import { systemCode } from "../../errors.ts";

/** Why a whole body was refused; `message` is lower case and complete. */
export class FeedBodyError extends Error {
  override readonly name = "FeedBodyError";
}

/** Bytes of a body that are read at most; a longer one is refused. */
export const MAX_BODY = 512 * 1024 * 1024;
/** Bytes that a compressed body may unpack to. */
export const MAX_UNPACKED = 256 * 1024 * 1024;
/** JSON is held as a whole while it is read, at several times its size. */
const MAX_JSON = 64 * 1024 * 1024;

const GZIP = [0x1f, 0x8b];
const ZSTD = [0x28, 0xb5, 0x2f, 0xfd];

/**
 * The body unpacked: gzip (RFC 1952) and zstd (RFC 8878) are told by their first bytes; brotli (RFC 7932) has none, so
 * that it is told by `path` ending in `.br`. Anything else comes back as it is. Throws `FeedBodyError` for a body that is
 * cut short or damaged, or unpacks to more than `limit` bytes.
 */
export function unpack(body: Uint8Array, path: string, limit = MAX_UNPACKED): Uint8Array {
  const [format, decompress] = startsWith(body, GZIP)
    ? (["gzip", gunzipSync] as const)
    : startsWith(body, ZSTD)
      ? (["zstd", zstdDecompressSync] as const)
      : path.endsWith(".br")
        ? (["brotli", brotliDecompressSync] as const)
        : [null, null];
  if (format === null) return body;
  try {
    return decompress(body, { maxOutputLength: limit });
  } catch (error) {
    if (systemCode(error) === "ERR_BUFFER_TOO_LARGE") {
      throw new FeedBodyError(`the ${format} body unpacks to more than ${limit} bytes`);
    }
    const why = error instanceof Error ? error.message : String(error);
    throw new FeedBodyError(`the ${format} body is cut short or damaged (${why})`);
  }
}

/** Throws for a body that is a web page, an archive or another binary, or too long. */
export function checkText(body: Uint8Array): void {
  if (body.length > MAX_BODY) throw new FeedBodyError(`the body is longer than ${MAX_BODY} bytes`);
  if (body.includes(0)) throw new FeedBodyError("the body is binary, not a text list");
  const head = body.subarray(0, 4096);
  for (const byte of head) {
    if (byte < 9 || (byte > 13 && byte < 32)) throw new FeedBodyError("the body is binary, not a text list");
  }
  if (/^(?:ï»¿)?\s*</.test(Buffer.from(head).toString("latin1"))) {
    throw new FeedBodyError("the body is a web page (HTML or XML), not a list");
  }
}

/** The JSON value that the body is. Throws `FeedBodyError` when it is none, cut short, or too long to be held. */
export function parseJSON(body: Uint8Array): unknown {
  if (body.length > MAX_JSON) {
    throw new FeedBodyError(`the JSON body has ${body.length} bytes; at most ${MAX_JSON} are read`);
  }
  try {
    return JSON.parse(new TextDecoder().decode(body));
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new FeedBodyError(`the JSON body is cut short or damaged (${why.slice(0, 120)})`);
  }
}

/** Own property of a JSON object; undefined where `value` is none or has no such key. */
export function field(value: unknown, key: string): unknown {
  if (typeof value !== "object" || value === null || !Object.hasOwn(value, key)) return undefined;
  return Reflect.get(value, key);
}

/** The elements of a JSON array; none for anything else. */
export function elements(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function startsWith(body: Uint8Array, magic: readonly number[]): boolean {
  return magic.every((byte, index) => body[index] === byte);
}
