/** feeds.yaml: text → checked sources, all problems at once. */
import { dirname, join, resolve } from "node:path";
import { z } from "zod";
import { SourceDocument } from "../document.ts";
import { readAuthentication } from "./manifest/authentication.ts";
import { duration, share, size } from "./manifest/values.ts";
import { type Authentication, type DeclaredFeed, LIST_FORMATS, type RemoteList } from "./types.ts";

/** Where fetched lists are kept on an installed host. */
export const DEFAULT_BODIES = "/var/lib/tidesman/feeds/bodies";

export interface FeedManifest {
  readonly feeds: readonly DeclaredFeed[];
  /** Files with names that no fetched list may cover, beside those that ship; absolute. */
  readonly popular: readonly string[];
}

const text = z.string().min(1).max(1000);
const path = z
  .string()
  .min(1)
  .regex(/^[^\0]*$/, "is no path");

const SOURCE = z.strictObject({
  name: z
    .string()
    .regex(
      /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/,
      "needs letters, digits, `.`, `_` and `-` only, at most 64 of them",
    ),
  path: path.optional(),
  url: z.string().optional(),
  kind: z.enum(["domain", "address", "url"]),
  format: z.enum(["auto", ...LIST_FORMATS]).optional(),
  match: z.enum(["suffix", "exact"]).optional(),
  effect: z.enum(["alert", "prevent", "block"]).optional(),
  enabled: z.boolean().optional(),
  protocol: z.enum(["http", "taxii", "misp"]).optional(),
  interval: duration("5m", "30d").optional(),
  /** Read by manifest/authentication.ts. */
  authentication: z.unknown().optional(),
  timeout: duration("1s", "1h").optional(),
  maxSize: size("1KiB", "512MiB").optional(),
  ca: path.optional(),
  licence: text.optional(),
  attribution: text.optional(),
  allowEmpty: z.boolean().optional(),
  maxShrink: share.optional(),
  quarantine: duration("0", "30d").optional(),
  hold: z.enum(["never", "learned", "always"]).optional(),
  allowPopular: z.boolean().optional(),
  allowInternal: z.boolean().optional(),
});
type Source = z.output<typeof SOURCE>;

const MANIFEST = z.strictObject({
  version: z.literal(1),
  popular: z.array(path).optional(),
  feeds: z.array(SOURCE),
});

/** Keys that say how a list is fetched. */
const REMOTE_KEYS = ["protocol", "interval", "authentication", "timeout", "maxSize", "ca"] as const;
/** What each protocol brings; `http` brings whatever the server has. */
const PROTOCOL_FORMATS = { http: undefined, taxii: "stix", misp: "misp" } as const;
/** Formats in which URLs stand. */
const URL_FORMATS = ["auto", "plain", "urlhaus", "threatfox", "misp", "stix"];
/** A `key` of a URL is a secret from this length on; shorter ones name a list. */
const SECRET_LENGTH = 16;
/** Parameters of a URL that are secrets by their name. */
const SECRET_PARAMETER =
  /^(?:api[-_]?key|auth[-_]?key|auth|(?:access[-_]?|auth[-_]?)?token|secret|passw(?:or)?d)$/i;

/** The feeds of `parseManifest`. */
export function parseFeeds(text: string, file: string, bodies = DEFAULT_BODIES): readonly DeclaredFeed[] {
  return parseManifest(text, file, bodies).feeds;
}

/**
 * Reads and checks the text of a feeds.yaml. Paths are taken from the folder of `file`; a list that is fetched is kept at
 * `BODIES/NAME`. Feeds are enabled unless they say otherwise; `format: auto`, like none, is left to detection.
 * Throws TM_FEED with a line `FILE:LINE:COLUMN: field: what is wrong; what is allowed` for every problem.
 */
export function parseManifest(text: string, file: string, bodies = DEFAULT_BODIES): FeedManifest {
  const document = new SourceDocument(text, file);
  const manifest = document.check(MANIFEST);
  const folder = dirname(file);
  // These look at the plain data, so that they find their problems beside those of the schema.
  const feeds = document.at(["feeds"]);
  const count = Array.isArray(feeds) ? feeds.length : 0;
  checkNames(document, count);
  const authentications: (Authentication | null)[] = [];
  for (let feed = 0; feed < count; feed++) {
    checkPlace(document, feed);
    checkMeaning(document, feed);
    authentications.push(readAuthentication(document, ["feeds", feed, "authentication"], folder));
  }
  document.refuse("TM_FEED");
  if (manifest === null) throw new Error("a document that does not fit its schema has problems");
  return {
    feeds: manifest.feeds.map((source, feed) =>
      declare(source, authentications[feed] ?? null, { folder, bodies }),
    ),
    popular: (manifest.popular ?? []).map((path) => resolve(folder, path)),
  };
}

function checkNames(document: SourceDocument, count: number): void {
  const names = new Map<string, number>();
  for (let feed = 0; feed < count; feed++) {
    const name = document.at(["feeds", feed, "name"]);
    if (typeof name !== "string") continue;
    const first = names.get(name);
    if (first === undefined) names.set(name, feed);
    else
      document.problem(
        ["feeds", feed, "name"],
        `\`${name}\` is the name of feeds[${first}] already; each needs its own`,
      );
  }
}

/** Exactly one of `path` and `url`, and what belongs to it. */
function checkPlace(document: SourceDocument, feed: number): void {
  const has = (key: string): boolean => document.at(["feeds", feed, key]) !== undefined;
  const known = document.at(["feeds", feed]);
  if (typeof known !== "object" || known === null) return;
  const url = document.at(["feeds", feed, "url"]);
  if (!has("path") && !has("url"))
    document.problem(["feeds", feed], "needs `path`, a list on this host, or `url`, one that is fetched");
  else if (has("path") && has("url"))
    document.problem(["feeds", feed, "url"], "stands beside `path`; exactly one of them is allowed", true);
  const name = document.at(["feeds", feed, "name"]);
  if (name === "all")
    document.problem(["feeds", feed, "name"], "`all` stands for every feed in `feeds test`; give it another");
  if (has("url") && typeof name === "string" && name.endsWith(".json"))
    document.problem(["feeds", feed, "name"], "ends in `.json`, which is kept for what is known about lists");
  if (typeof url === "string") {
    const trouble = urlTrouble(url);
    if (trouble !== null) document.problem(["feeds", feed, "url"], trouble);
  }
  if (has("url")) return;
  for (const key of REMOTE_KEYS) {
    if (has(key))
      document.problem(
        ["feeds", feed, key],
        "is for lists that are fetched; leave it out where there is no `url`",
        true,
      );
  }
}

/** What `kind` and `protocol` leave open. */
function checkMeaning(document: SourceDocument, feed: number): void {
  const kind = document.at(["feeds", feed, "kind"]);
  const format = document.at(["feeds", feed, "format"]);
  const protocol = document.at(["feeds", feed, "protocol"]);
  if (kind === "address" && document.at(["feeds", feed, "match"]) !== undefined) {
    document.problem(
      ["feeds", feed, "match"],
      "is for domain feeds and url feeds; leave it out where `kind` is `address`",
      true,
    );
  }
  if (kind === "url" && isFormat(format) && !URL_FORMATS.includes(format)) {
    const allowed = URL_FORMATS.join(", ");
    document.problem(["feeds", feed, "format"], `\`${format}\` holds no URLs; allowed: ${allowed}`);
  }
  const brought = protocol === "taxii" || protocol === "misp" ? PROTOCOL_FORMATS[protocol] : undefined;
  if (brought !== undefined && isFormat(format) && format !== "auto" && format !== brought) {
    const message = `\`${format}\` is not what \`protocol: ${protocol}\` brings; leave it out, or write \`${brought}\``;
    document.problem(["feeds", feed, "format"], message);
  }
}

function isFormat(value: unknown): value is string {
  return typeof value === "string" && ["auto", ...LIST_FORMATS].some((format) => format === value);
}

/** Why a list cannot be fetched from `url`; null when it can. Does not repeat it: there may be a secret in it. */
function urlTrouble(url: string): string | null {
  const parsed = URL.parse(url);
  if (parsed === null || /[\s\\]/.test(url)) return "is no URL; allowed: https://HOST/PATH, http://HOST/PATH";
  if (parsed.protocol !== "https:" && parsed.protocol !== "http:")
    return "has a scheme that is not fetched; allowed: https, http; for a list on this host use `path`";
  if (parsed.username !== "" || parsed.password !== "")
    return "has a user or a password in it; name them under `authentication`: { user: NAME, file: FILE }";
  if (url.includes("#")) return "has a fragment (`#`), which no server sees; leave it out";
  const [secret] =
    [...parsed.searchParams].find(
      ([name, value]) =>
        SECRET_PARAMETER.test(name) || (/(?:^|[-_])key$/i.test(name) && value.length >= SECRET_LENGTH),
    ) ?? [];
  if (secret === undefined) return null;
  return `has a secret in it (\`${secret}\`); name it under \`authentication\`: { query: ${secret}, file: FILE }`;
}

interface Folders {
  readonly folder: string;
  readonly bodies: string;
}

/** A checked source with its defaults. A list from elsewhere is trusted less than one on this host. */
function declare(source: Source, authentication: Authentication | null, folders: Folders): DeclaredFeed {
  const { name, path = "", url, kind, format, effect, enabled, licence, attribution } = source;
  const local = url === undefined;
  const match = source.match ?? (kind === "url" ? "exact" : undefined);
  const meant = PROTOCOL_FORMATS[source.protocol ?? "http"] ?? (format === "auto" ? undefined : format);
  return {
    name,
    path: local ? resolve(folders.folder, path) : join(folders.bodies, name),
    ...(local ? {} : remote(source, url, authentication, folders)),
    kind,
    ...(match === undefined ? {} : { match }),
    ...(meant === undefined ? {} : { format: meant }),
    ...(effect === undefined ? {} : { effect }),
    enabled: enabled ?? true,
    interval: source.interval ?? (local ? 0 : 3_600_000),
    ...(licence === undefined ? {} : { licence }),
    ...(attribution === undefined ? {} : { attribution }),
    allowEmpty: source.allowEmpty ?? local,
    maxShrink: source.maxShrink ?? (local ? 1 : 0.5),
    quarantine: source.quarantine ?? 86_400_000,
    hold: source.hold ?? "never",
    allowPopular: source.allowPopular ?? local,
    allowInternal: source.allowInternal ?? local,
  };
}

function remote(
  { protocol, timeout, maxSize, ca }: Source,
  written: string,
  authentication: Authentication | null,
  { folder }: Folders,
): { readonly url: string; readonly remote: RemoteList } {
  const url = new URL(written).href;
  return {
    url,
    remote: {
      protocol: protocol ?? "http",
      url,
      ...(authentication === null ? {} : { authentication }),
      timeout: timeout ?? 60_000,
      maxSize: maxSize ?? 128 * 1024 * 1024,
      ...(ca === undefined ? {} : { ca: resolve(folder, ca) }),
    },
  };
}
