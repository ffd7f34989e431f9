/** How a feed is told whose source gives nothing. */
import t from "tap";
import { ManualClock } from "../src/clock.ts";
import type { FeedReport } from "../src/control/types.ts";
import { Findings, type FindingsOptions } from "../src/findings.ts";
import type { Finding } from "../src/policy/types.ts";
import { feed } from "./control/scripted.ts";

const NAMED = "2026-01-01T00:00:00.000Z";
const GOOD = "2026-02-02T00:00:00.000Z";

t.test("a stale feed is told once, with what it guards with", async (t) => {
  const told: string[] = [];
  const findings = new Findings({
    audits: { take: ({ message }: Finding) => told.push(message) },
    clock: new ManualClock(),
    revisions: { revision: 1 },
    incidents: { observe: () => undefined },
  } as unknown as FindingsOptions);
  const stale: FeedReport = { ...feed, stale: true, wantedSince: NAMED, goodAt: GOOD, error: "it is gone" };
  const feeds: readonly FeedReport[] = [
    { ...stale, name: "never", goodAt: null, loadedAt: null },
    { ...stale, name: "by-hand", goodAt: null, loadedAt: GOOD },
    { ...stale, name: "held", loadedAt: null, error: null },
    { ...stale, name: "old" },
    { ...stale, name: "fresh", stale: false },
  ];
  findings.staleFeeds(feeds);
  findings.staleFeeds(feeds);
  t.strictSame(told, [
    `feed never never was in force: its source has given nothing good since it is named, at ${NAMED}: it is gone`,
    `feed by-hand guards with the list of ${GOOD}: its source has given nothing good since it is named, at ${NAMED}: it is gone`,
    `feed held was last fetched well at ${GOOD}, and is not in force`,
    `feed old was last fetched well at ${GOOD}, and guards with that list: it is gone`,
  ]);
});
