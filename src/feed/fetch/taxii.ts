/**
 * A collection of a TAXII 2.1 server (OASIS, 5.4 "Get Objects"): its pages, joined to one bundle that the reader of STIX
 * takes. Only indicators are kept, and of the answer only what tells where the next page is.
 */
import { checkText, elements, FeedBodyError, field, parseJSON } from "../list/body.ts";
import { FetchFailure } from "./failure.ts";
import { type Fetched, resourceOf, type Wanted } from "./list.ts";
import { collected } from "./memory.ts";
import { draft, stored, sweep, writeStored } from "./store.ts";
import type { Means, Resource } from "./transfer.ts";

const MEDIA_TYPE = "application/taxii+json;version=2.1";
const MAX_PAGES = 1000;
/** Bytes of all indicators: as much JSON as the reader of lists holds at once. */
const MAX_COLLECTION = 64 * 1024 * 1024;

/** Brings `wanted` up to date. Throws `FetchFailure`; then the files are as they were. */
export async function fetchCollection(wanted: Wanted, means: Means): Promise<Fetched> {
  for (const path of wanted.paths) await sweep(path);
  const { body, transferred, url } = await readPages(wanted, means);
  const changed = new Set<string>();
  for (const path of wanted.paths) {
    const before = await stored(path);
    const written = await draft(path, means.random);
    try {
      await written.write(body);
      const { size, sha256 } = await written.finish();
      if (before?.sha256 !== sha256 || before.size !== size) {
        await written.keep();
        changed.add(path);
      }
      const known = { source: wanted.source, url, etag: null, lastModified: null, sha256, size };
      await writeStored(path, { ...known, fetchedAt: means.clock.now(), packing: "none" }, means.random);
    } finally {
      await written.drop();
    }
  }
  if (changed.size === 0) return { kind: "unchanged" };
  return { kind: "fetched", changed, bytes: body.length, transferred, url };
}

async function readPages(
  wanted: Wanted,
  means: Means,
): Promise<{ readonly body: Buffer; readonly transferred: number; readonly url: string }> {
  const first = objectsOf(wanted.remote.url);
  const seen = new Set<string>();
  const objects: string[] = [];
  let next: string | null = null;
  let length = 0;
  let transferred = 0;
  for (let page = 1; page <= MAX_PAGES; page++) {
    const url = new URL(first);
    if (next !== null) url.searchParams.set("next", next);
    const answer = await readPage(
      {
        ...resourceOf(wanted),
        url,
        headers: { accept: MEDIA_TYPE },
        spent: transferred,
        maxUnpacked: MAX_COLLECTION,
        conditional: false,
      },
      means,
    );
    transferred += answer.transferred;
    if (typeof answer.document !== "object" || answer.document === null || Array.isArray(answer.document)) {
      throw new FetchFailure("the collection answered with no TAXII envelope");
    }
    for (const object of elements(field(answer.document, "objects"))) {
      if (field(object, "type") !== "indicator") continue;
      const text = JSON.stringify(object);
      length += Buffer.byteLength(text) + 1;
      if (length > MAX_COLLECTION) {
        throw new FetchFailure(`the collection has more than ${MAX_COLLECTION} bytes of indicators`);
      }
      objects.push(text);
    }
    if (field(answer.document, "more") !== true) {
      const body = Buffer.from(`{"objects":[${objects.join(",")}]}\n`);
      return { body, transferred, url: wanted.credentials.redact(first.href) };
    }
    const token = field(answer.document, "next");
    if (typeof token !== "string" || token === "") {
      throw new FetchFailure("the collection has more pages, but does not say where (`next`)");
    }
    if (seen.has(token)) throw new FetchFailure("the collection leads back to a page that was read (`next`)");
    seen.add(token);
    next = token;
  }
  throw new FetchFailure(`the collection has more than ${MAX_PAGES} pages`);
}

/** The objects of the collection that `text` names, with or without `/objects/`. */
function objectsOf(text: string): URL {
  const url = new URL(text);
  url.pathname = `${url.pathname.replace(/(?:\/objects)?\/*$/, "")}/objects/`;
  return url;
}

async function readPage(
  resource: Resource,
  means: Means,
): Promise<{ readonly document: unknown; readonly transferred: number }> {
  const { answer, body } = await collected(resource, means);
  const type = answer.headers.get("content-type") ?? "";
  if (!/^application\/(?:[\w.-]+\+)?json\s*(?:;|$)/i.test(type)) {
    throw new FetchFailure(
      `the collection is of the type \`${resource.credentials.redact(type.slice(0, 60))}\`, not JSON`,
    );
  }
  try {
    checkText(body);
    return { document: parseJSON(body), transferred: answer.transferred };
  } catch (error) {
    // What JSON.parse says quotes the body.
    if (error instanceof FeedBodyError) throw new FetchFailure(resource.credentials.redact(error.message));
    throw error;
  }
}
