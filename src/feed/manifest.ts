/** feeds.yaml: text → checked sources, all problems at once. */
import { dirname, resolve } from "node:path";
import { z } from "zod";
import { SourceDocument } from "../document.ts";
import { type DeclaredFeed, LIST_FORMATS } from "./types.ts";

const SOURCE = z.strictObject({
  name: z
    .string()
    .regex(
      /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/,
      "needs letters, digits, `.`, `_` and `-` only, at most 64 of them",
    ),
  path: z.string().min(1),
  kind: z.enum(["domain", "address"]),
  match: z.enum(["suffix", "exact"]).optional(),
  format: z.enum(["auto", ...LIST_FORMATS]).optional(),
  effect: z.enum(["alert", "prevent", "block"]).optional(),
  enabled: z.boolean().optional(),
});

const MANIFEST = z.strictObject({
  version: z.literal(1),
  feeds: z.array(SOURCE),
});

/**
 * Reads and checks the text of a feeds.yaml. Paths are taken from the folder of `file`. Feeds are enabled unless
 * they say otherwise; `format: auto`, like none, is left to detection.
 * Throws TM_FEED with a line `FILE:LINE:COLUMN: field: what is wrong; what is allowed` for every problem.
 */
export function parseFeeds(text: string, file: string): readonly DeclaredFeed[] {
  const document = new SourceDocument(text, file);
  const manifest = document.check(MANIFEST);
  // These look at the plain data, so that they find their problems beside those of the schema.
  const feeds = document.at(["feeds"]);
  const count = Array.isArray(feeds) ? feeds.length : 0;
  const names = new Map<string, number>();
  for (let feed = 0; feed < count; feed++) {
    const name = document.at(["feeds", feed, "name"]);
    if (typeof name === "string") {
      const first = names.get(name);
      if (first === undefined) names.set(name, feed);
      else
        document.problem(
          ["feeds", feed, "name"],
          `\`${name}\` is the name of feeds[${first}] already; each needs its own`,
        );
    }
    if (
      document.at(["feeds", feed, "kind"]) === "address" &&
      document.at(["feeds", feed, "match"]) !== undefined
    ) {
      document.problem(
        ["feeds", feed, "match"],
        "is for domain feeds; leave it out where `kind` is `address`",
        true,
      );
    }
  }
  document.refuse("TM_FEED");
  if (manifest === null) throw new Error("a document that does not fit its schema has problems");
  return manifest.feeds.map(({ name, path, kind, match, format, effect, enabled }) => ({
    name,
    path: resolve(dirname(file), path),
    kind,
    ...(match === undefined ? {} : { match }),
    ...(format === undefined || format === "auto" ? {} : { format }),
    ...(effect === undefined ? {} : { effect }),
    enabled: enabled ?? true,
    interval: 3_600_000,
    allowEmpty: true,
    maxShrink: 1,
    quarantine: 0,
    hold: "never" as const,
    allowPopular: true,
    allowInternal: true,
  }));
}
