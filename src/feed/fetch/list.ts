/** A list that is one body at one URL. */
import { createReadStream } from "node:fs";
import { createBrotliDecompress } from "node:zlib";
import { MAX_UNPACKED } from "../list/body.ts";
import type { RemoteList } from "../types.ts";
import type { Credentials } from "./credentials.ts";
import { FetchFailure } from "./failure.ts";
import { type Draft, draft, inspect, type Stored, stored, sweep, writeStored } from "./store.ts";
import { type Answer, DECODER, damaged, type Means, type Resource, transfer } from "./transfer.ts";

/** Characters of a validator. */
const MAX_VALIDATOR = 1024;

/** A list to fetch, once, for all files that want its body. */
export interface Wanted {
  readonly remote: RemoteList;
  readonly credentials: Credentials;
  /** Where the body is to be: files, or folders for `misp`. No two are equal. */
  readonly paths: readonly string[];
  /** What validators are kept with and used for; see `Stored`. */
  readonly source: string;
  readonly onProgress?: (bytes: number, total: number | null) => void;
}

export type Fetched =
  | {
      readonly kind: "fetched";
      /** Paths whose body is another than before. */
      readonly changed: ReadonlySet<string>;
      /** Of the body as stored. */
      readonly bytes: number;
      /** Bytes as transferred. */
      readonly transferred: number;
      readonly url: string;
    }
  | { readonly kind: "unchanged" };

/** Brings `wanted` up to date. Throws `FetchFailure`; then the files are as they were. */
export async function fetchList(wanted: Wanted, means: Means): Promise<Fetched> {
  const { paths, credentials } = wanted;
  for (const path of paths) await sweep(path);
  const known = await Promise.all(paths.map((path) => stored(path)));
  const conditions = conditionsOf(known, wanted.source);
  const resource: Resource = {
    ...resourceOf(wanted),
    headers: { accept: "*/*", ...conditions },
    conditional: Object.keys(conditions).length > 0,
  };
  const drafts: Draft[] = [];
  try {
    const answer = await download(resource, paths, drafts, means);
    if (answer.status === 304) {
      // Another hand may have been at the file since it was read.
      const still = await Promise.all(paths.map((path) => stored(path)));
      if (still.every((one) => one !== null)) return { kind: "unchanged" };
      throw new FetchFailure("the stored body went away while its server was asked", { transient: true });
    }
    return await keep(answer, drafts, known, wanted, credentials, means);
  } finally {
    for (const one of drafts) await one.drop();
  }
}

export function resourceOf(wanted: Wanted): Omit<Resource, "headers" | "conditional"> {
  const { remote, credentials, onProgress } = wanted;
  return {
    url: new URL(remote.url),
    credentials,
    ca: remote.ca,
    timeout: remote.timeout,
    maxSize: remote.maxSize,
    ...(onProgress ? { onProgress } : {}),
  };
}

/** Headers that let the server say that nothing changed: only where every body is whole and of one mind. */
export function conditionsOf(
  known: readonly (Stored | null)[],
  source: string,
): Readonly<Record<string, string>> {
  const [first] = known;
  if (!first || first.source !== source || known.some((one) => one === null || !alike(one, first))) return {};
  return {
    ...(first.etag === null ? {} : { "if-none-match": first.etag }),
    ...(first.lastModified === null ? {} : { "if-modified-since": first.lastModified }),
  };
}

/**
 * What the server is asked with the next time. One that is so long that a request with it would be refused, and so for
 * ever, is left out, and so is one that carries the secret.
 */
export function validatorsOf(
  { headers }: Answer,
  credentials: Credentials,
): Pick<Stored, "etag" | "lastModified"> {
  const kept = (name: string): string | null => {
    const value = headers.get(name);
    return value === null || value.length > MAX_VALIDATOR || credentials.knows(value) ? null : value;
  };
  return { etag: kept("etag"), lastModified: kept("last-modified") };
}

function alike(a: Stored, b: Stored): boolean {
  return (
    a.source === b.source && a.sha256 === b.sha256 && a.etag === b.etag && a.lastModified === b.lastModified
  );
}

/** Transfers into a draft beside each path; those of failed attempts are dropped. */
async function download(
  resource: Resource,
  paths: readonly string[],
  drafts: Draft[],
  means: Means,
): Promise<Answer> {
  const open = () => {
    let ready: Promise<void> | null = null;
    const begin = async (): Promise<void> => {
      for (const old of drafts.splice(0)) await old.drop();
      for (const path of paths) drafts.push(await draft(path, means.random));
    };
    return async (chunk: Uint8Array): Promise<void> => {
      ready ??= begin();
      await ready;
      for (const one of drafts) await one.write(chunk);
    };
  };
  const answer = await transfer(resource, open, means);
  if (answer.status === 200 && drafts.length === 0) await open()(new Uint8Array());
  return answer;
}

async function keep(
  answer: Answer,
  drafts: readonly Draft[],
  known: readonly (Stored | null)[],
  wanted: Wanted,
  credentials: Credentials,
  means: Means,
): Promise<Fetched> {
  const changed = new Set<string>();
  let bytes = 0;
  for (const [index, path] of wanted.paths.entries()) {
    const received = drafts[index];
    if (received === undefined) continue;
    let body = received;
    let { size, sha256 } = await body.finish();
    // Brotli has no first bytes to be told by, and the stored name does not end as the URL does.
    const brotli = !isEncoded(answer, "br") && [wanted.remote.url, answer.url].some(endsInBrotli);
    if (brotli) {
      body = await unpackBrotli(received, path, means);
      ({ size, sha256 } = await body.finish());
    }
    try {
      const packing = await inspect(body.path);
      const before = known[index];
      if (before?.sha256 !== sha256 || before.size !== size) {
        await body.keep();
        changed.add(path);
      }
      bytes = size;
      await writeStored(
        path,
        {
          source: wanted.source,
          url: answer.url,
          ...validatorsOf(answer, credentials),
          sha256,
          size,
          fetchedAt: means.clock.now(),
          packing,
        },
        means.random,
      );
    } finally {
      if (body !== received) await body.drop();
    }
  }
  return changed.size === 0
    ? { kind: "unchanged" }
    : { kind: "fetched", changed, bytes, transferred: answer.transferred, url: answer.url };
}

function endsInBrotli(url: string): boolean {
  return new URL(url).pathname.endsWith(".br");
}

function isEncoded(answer: Answer, encoding: string): boolean {
  return (answer.headers.get("content-encoding") ?? "").toLowerCase().includes(encoding);
}

async function unpackBrotli(received: Draft, path: string, means: Means): Promise<Draft> {
  const body = await draft(path, means.random);
  const packed = createReadStream(received.path);
  let size = 0;
  try {
    for await (const chunk of packed.pipe(createBrotliDecompress(DECODER))) {
      const bytes: Buffer = chunk;
      size += bytes.length;
      if (size > MAX_UNPACKED) {
        throw new FetchFailure(`the brotli body unpacks to more than ${MAX_UNPACKED} bytes`);
      }
      await body.write(bytes);
    }
    return body;
  } catch (error) {
    await body.drop();
    throw damaged(error);
  } finally {
    packed.destroy();
  }
}
