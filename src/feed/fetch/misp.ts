/**
 * The folder of a MISP feed: `manifest.json`, and the events that it names. Only events that changed since the stored
 * manifest are fetched. Events go to disk first, each at once, then the manifest, then what is no longer named is removed:
 * wherever a crash falls, the folder is a readable feed, and events that are there already are not fetched again.
 */
import { readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { systemCode } from "../../errors.ts";
import { checkText, FeedBodyError, field, MAX_BODY, parseJSON } from "../list/body.ts";
import { FetchFailure } from "./failure.ts";
import { conditionsOf, type Fetched, resourceOf, validatorsOf, type Wanted } from "./list.ts";
import { collected } from "./memory.ts";
import { makeFolder, names, replace, stored, storedSource, sweep, syncFolder, writeStored } from "./store.ts";
import type { Means } from "./transfer.ts";

const UUID = /^[\da-f]{8}-[\da-f]{4}-[\da-f]{4}-[\da-f]{4}-[\da-f]{12}$/i;
const MANIFEST = "manifest.json";
/** As many as the reader of the folder takes. */
const MAX_EVENTS = 100_000;
/** Bytes of one document: as much JSON as the reader holds at once. */
const MAX_DOCUMENT = 64 * 1024 * 1024;

/** Events by UUID, each with what tells one version from the next. */
type Versions = ReadonlyMap<string, string>;

/** Brings `wanted` up to date. Throws `FetchFailure`; then the manifest is as it was. */
export async function fetchFolder(wanted: Wanted, means: Means): Promise<Fetched> {
  const { paths, remote, credentials } = wanted;
  for (const path of paths) {
    await makeFolder(path);
    await sweep(path);
    await sweep(path, true);
  }
  const before = await Promise.all(paths.map((path) => readFolder(path, wanted.source)));
  const complete = before.every(({ versions, present }) =>
    [...versions.keys()].every((uuid) => present.has(uuid)),
  );
  const known = await Promise.all(paths.map((path) => stored(path, join(path, MANIFEST))));
  const conditions = complete ? conditionsOf(known, wanted.source) : {};
  let transferred = 0;
  const fetch = async (name: string, headers: Readonly<Record<string, string>>) => {
    const got = await collected(
      {
        ...resourceOf(wanted),
        url: fileOf(remote.url, name),
        headers: { accept: "application/json, */*;q=0.5", ...headers },
        spent: transferred,
        maxUnpacked: MAX_DOCUMENT,
        conditional: Object.keys(headers).length > 0,
      },
      means,
    );
    transferred += got.answer.transferred;
    return got;
  };
  const { answer, body } = await fetch(MANIFEST, conditions);
  if (answer.status === 304) return { kind: "unchanged" };
  const versions = versionsOf(body, MANIFEST, credentials.redact.bind(credentials));
  let total = body.length;
  let fetchedEvents = 0;
  for (const [uuid, version] of versions) {
    const stale: string[] = [];
    for (const [index, path] of paths.entries()) {
      if (!(await isCurrent(path, uuid, version, before[index]))) stale.push(path);
    }
    if (stale.length > 0) {
      const event = await fetchEvent(uuid, fetch, credentials.redact.bind(credentials));
      if (event === null) continue;
      for (const path of stale) await replace(join(path, `${uuid}.json`), event, means.random);
      fetchedEvents += 1;
    }
    total += (await stat(join(paths[0] ?? "", `${uuid}.json`))).size;
    if (total > MAX_BODY) throw new FetchFailure(`its events have more than ${MAX_BODY} bytes`);
  }
  const changed = new Set<string>();
  for (const [index, path] of paths.entries()) {
    const written = await keepManifest(path, body, versions, means);
    const last = known[index];
    if (fetchedEvents > 0 || last?.sha256 !== written.sha256) changed.add(path);
    await writeStored(
      path,
      {
        source: wanted.source,
        url: answer.url,
        ...validatorsOf(answer, credentials),
        ...written,
        fetchedAt: means.clock.now(),
        packing: "none",
      },
      means.random,
    );
  }
  if (changed.size === 0) return { kind: "unchanged" };
  return { kind: "fetched", changed, bytes: transferred, transferred, url: answer.url };
}

/** Events that a folder holds, and the versions that its manifest names. */
interface Folder {
  readonly versions: Versions;
  readonly present: ReadonlySet<string>;
}

/** What the folder holds of `source`; nothing where it was fetched from another. */
async function readFolder(path: string, source: string): Promise<Folder> {
  const from = await storedSource(path);
  if (from !== null && from !== source) return { versions: new Map(), present: new Set() };
  const present = new Set(
    (await names(path))
      .filter((name) => name.endsWith(".json"))
      .map((name) => name.slice(0, -".json".length)),
  );
  try {
    const manifest = await readFile(join(path, MANIFEST));
    return { versions: versionsOf(manifest, MANIFEST, (text) => text), present };
  } catch (error) {
    if (!(error instanceof FetchFailure) && systemCode(error) !== "ENOENT") throw error;
    return { versions: new Map(), present };
  }
}

/** Throws `FetchFailure` for what is no manifest. Names that are no UUID are left out: they would be paths. */
function versionsOf(body: Uint8Array, name: string, redact: (text: string) => string): Versions {
  const list = parsed(body, name, redact);
  if (typeof list !== "object" || list === null || Array.isArray(list)) {
    throw new FetchFailure(`\`${name}\` is no MISP manifest, an object of events by UUID`);
  }
  const versions = new Map<string, string>();
  for (const [uuid, entry] of Object.entries(list)) {
    if (!UUID.test(uuid)) continue;
    versions.set(uuid, versionOf(entry));
    if (versions.size > MAX_EVENTS) throw new FetchFailure(`\`${name}\` has more than ${MAX_EVENTS} events`);
  }
  return versions;
}

/** What tells this version of an event from the next, of its entry in the manifest and of the event alike. */
function versionOf(event: unknown): string {
  const timestamp = field(event, "timestamp");
  // Without a time, whatever changes in the entry counts.
  if (timestamp === undefined) return JSON.stringify(event);
  return `${String(timestamp)} ${String(field(event, "date"))}`;
}

/**
 * Whether the stored event is the one that the new manifest means: the old manifest said so, or, where a run ended before
 * its manifest was written, the event itself does.
 */
async function isCurrent(
  path: string,
  uuid: string,
  version: string,
  before: Folder | undefined,
): Promise<boolean> {
  if (!before?.present.has(uuid)) return false;
  if (before.versions.get(uuid) === version) return true;
  try {
    const event = field(parseJSON(await readFile(join(path, `${uuid}.json`))), "Event");
    return versionOf(event) === version;
  } catch {
    return false;
  }
}

/** The event as it is to be stored; null where the manifest names one that the server does not have. */
async function fetchEvent(
  uuid: string,
  fetch: (name: string, headers: Readonly<Record<string, string>>) => Promise<{ readonly body: Buffer }>,
  redact: (text: string) => string,
): Promise<Buffer | null> {
  const name = `${uuid}.json`;
  try {
    const { body } = await fetch(name, {});
    if (field(parsed(body, name, redact), "Event") === undefined) {
      throw new FetchFailure(`\`${name}\` is no MISP event`);
    }
    return body;
  } catch (error) {
    if (error instanceof FetchFailure && (error.status === 404 || error.status === 410)) return null;
    throw error;
  }
}

async function keepManifest(
  path: string,
  body: Buffer,
  versions: Versions,
  means: Means,
): Promise<{ readonly size: number; readonly sha256: string }> {
  const written = await replace(join(path, MANIFEST), body, means.random);
  for (const name of await names(path)) {
    const [, uuid] = /^(.*)\.json$/.exec(name) ?? [];
    if (uuid !== undefined && UUID.test(uuid) && !versions.has(uuid))
      await rm(join(path, name), { force: true });
  }
  await syncFolder(path);
  return written;
}

function parsed(body: Uint8Array, name: string, redact: (text: string) => string): unknown {
  try {
    checkText(body);
    return parseJSON(body);
  } catch (error) {
    if (error instanceof FeedBodyError) throw new FetchFailure(redact(`\`${name}\`: ${error.message}`));
    throw error;
  }
}

/** `name` in the folder at `url`, which may name the manifest itself. The query stays. */
function fileOf(url: string, name: string): URL {
  const folder = new URL(url);
  folder.pathname = `${folder.pathname.replace(/\/(?:manifest\.json)?$/, "")}/${name}`;
  return folder;
}
