/** Are the feeds in use, and fresh? */
import type { Check } from "../patient.ts";
import { verdictsOf } from "../verdict.ts";

const { ok, warning } = verdictsOf("feeds");

export const feeds: Check = ({ feeds: reports }) => {
  if (reports === null)
    return [warning("no feed is compiled: nothing is told by intelligence", "run `tidesman feeds update`")];
  const enabled = reports.filter((feed) => feed.enabled);
  const verdicts = enabled.flatMap((feed) => {
    const { name, state, error, stale, goodAt, wantedSince } = feed;
    if (stale && goodAt === null)
      return [
        warning(
          `${name}: never fetched well since it is named, at ${wantedSince ?? "no time"}${error === null ? "" : `: ${error}`}`,
          `see \`tidesman feeds show ${name}\``,
        ),
      ];
    if (state === "notFetched") return [warning(`${name}: not fetched yet`, "run `tidesman feeds update`")];
    if (state === "quarantined" || state === "held")
      return [
        warning(
          `${name}: an update is ${state}: ${error ?? "see what would change"}`,
          `look at it with \`tidesman feeds show ${name}\`, then approve or leave it`,
        ),
      ];
    if (error !== null) return [warning(`${name}: ${error}`, `see \`tidesman feeds show ${name}\``)];
    if (stale)
      return [
        warning(
          `${name}: stale, last good at ${goodAt ?? "no time"}`,
          "see whether tidesman-feeds.timer runs (systemctl list-timers)",
        ),
      ];
    return [];
  });
  const entries = enabled.reduce((sum, feed) => sum + feed.entries, 0);
  if (verdicts.length > 0) return verdicts;
  return [ok(`${enabled.length} in use, fresh, with ${entries} entries`)];
};
