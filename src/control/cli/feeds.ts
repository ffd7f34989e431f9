/** `tidesman feeds [list|update]`: which intelligence is in force. */
import type { Command } from "commander";
import type { FeedReport } from "../types.ts";
import {
  type Action,
  type Attach,
  type Context,
  connect,
  DONE,
  FOUND,
  JSON_OPTION,
  type JsonOption,
} from "./context.ts";
import { localTime, number, plural } from "./layout.ts";

export function define(program: Command, attach: Attach): void {
  const feeds = program.command("feeds").description("list intelligence feeds, or read them again");
  const list = feeds
    .command("list", { isDefault: true })
    .description("list all feeds")
    .option(...JSON_OPTION);
  const update = feeds
    .command("update")
    .description("read all feed files again and put them in force")
    .option(...JSON_OPTION);
  attach(list, listFeeds);
  attach(update, updateFeeds);
}

const listFeeds: Action<JsonOption> = async (context, { json }) => {
  const feeds = await (await connect(context)).feeds();
  show(context, feeds, json === true);
  return DONE;
};

/** Exit status 1 when a feed is not in use, so that cron and the timer tell. */
const updateFeeds: Action<JsonOption> = async (context, { json }) => {
  const feeds = await (await connect(context)).updateFeeds();
  show(context, feeds, json === true);
  return feeds.some((feed) => feed.enabled && feed.error !== null) ? FOUND : DONE;
};

function show({ output }: Context, feeds: readonly FeedReport[], json: boolean): void {
  if (json) {
    output.jsonLines(feeds);
    return;
  }
  if (feeds.length === 0) {
    output.text("There are no feeds.");
    return;
  }
  const state = (feed: FeedReport): string =>
    !feed.enabled ? "off" : feed.error === null ? "in use" : "failed";
  output.table(
    [
      { title: "NAME", flexible: true },
      { title: "KIND" },
      { title: "MATCH" },
      { title: "EFFECT" },
      { title: "ENTRIES", right: true },
      { title: "STATE", colour: (cell) => (cell === "failed" ? "red" : null) },
      { title: "LOADED" },
    ],
    feeds.map((feed) => [
      feed.name,
      feed.kind,
      feed.kind === "address" ? "-" : feed.match,
      feed.effect ?? "rule's",
      number(feed.entries),
      state(feed),
      feed.loadedAt === null ? "-" : localTime(feed.loadedAt),
    ]),
  );
  for (const feed of feeds) {
    if (feed.error !== null) output.text(`${feed.name}: ${feed.error}`, "  ", "red");
    if (feed.refused > 0) {
      const samples = feed.samples.length === 0 ? "" : `: ${feed.samples.join("; ")}`;
      const readAs = feed.format === null ? "" : ` (read as ${feed.format})`;
      const lines = plural(feed.refused, "line");
      output.text(`${feed.name}: ${lines} without an entry${readAs}${samples}`, "  ", "yellow");
    }
  }
}
