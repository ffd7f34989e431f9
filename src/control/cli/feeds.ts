/** `tidesman feeds`: which intelligence is in force, and what becomes of its sources. All of it works with the daemon down. */
import type { Command } from "commander";
import { TidesmanError } from "../../errors.ts";
import { printable } from "../printable.ts";
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
import type { Fact } from "./output.ts";
import { Progress } from "./progress.ts";

interface UpdateFlags extends JsonOption {
  readonly due?: boolean;
  readonly offline?: boolean;
  readonly quiet?: boolean;
}

export function define(program: Command, attach: Attach): void {
  const feeds = program.command("feeds").description("list, update and test intelligence feeds");
  const list = feeds
    .command("list", { isDefault: true })
    .description("list all feeds")
    .option(...JSON_OPTION);
  const update = feeds
    .command("update [name]")
    .description("fetch lists (or one), check and compile all, put them in force")
    .option("--due", "fetch only those whose interval has passed")
    .option("--offline", "fetch nothing: read what lies on this host")
    .option("-q, --quiet", "say only what is wrong")
    .option(...JSON_OPTION)
    .addHelpText(
      "after",
      "\nExit status 1 when a feed (NAME: that one) failed, was refused, or waits for approval;\nwith --due only when that is new: what was told once is not told again.\nWorks with the daemon down: it takes the new feeds when it starts.",
    );
  const show = feeds
    .command("show <name>")
    .description("all about one feed: source, terms, latest changes")
    .option(...JSON_OPTION);
  const test = feeds
    .command("test <name> <target>")
    .description("whether a feed (`all`: one of them) lists a name or address")
    .option(...JSON_OPTION)
    .addHelpText("after", "\nExit status 1 when it is listed.");
  const rollback = feeds
    .command("rollback")
    .description("put the lists before the latest change in force again")
    .option(...JSON_OPTION);
  const approve = feeds
    .command("approve <name>")
    .description("take the list that is held or in quarantine")
    .option(...JSON_OPTION);
  attach(list, listFeeds);
  attach(update, updateFeeds);
  attach(show, showFeed);
  attach(test, testFeed);
  attach(rollback, rollbackFeeds);
  attach(approve, approveFeed);
}

/** What is in force in the daemon or, when it is down, what it would start with. */
async function reports(context: Context): Promise<readonly FeedReport[]> {
  try {
    return await (await connect(context)).feeds();
  } catch (error) {
    if (!isUnreachable(error)) throw error;
    const stored = (await context.intelligence()).reports(context.places, context.complain);
    if (stored === null) throw neither(error);
    context.complain("tidesman: the daemon does not run; these are the feeds that it would start with\n");
    return stored;
  }
}

const listFeeds: Action<JsonOption> = async (context, { json }) => {
  table(context, await reports(context), json === true);
  return DONE;
};

const updateFeeds: Action<UpdateFlags> = async (context, flags, name) => {
  const { json, quiet, due, offline } = flags;
  if (due === true && offline === true)
    throw new TidesmanError("TM_USAGE", "`--due` and `--offline` exclude each other; give one");
  const silent = quiet === true || json === true;
  const whole = name === undefined && due !== true && offline !== true;
  // Null where the daemon does it all: it does not say.
  let taken: readonly string[] | null = null;
  let news: readonly string[] = [];
  const all = await takeOver(context, { mayHandOver: whole, silent }, async () => {
    const progress = new Progress(process.stderr, context.now);
    try {
      const outcome = await (await context.intelligence()).update(context.places, {
        fetch: offline === true ? "none" : due === true ? "due" : "all",
        tells: true,
        ...(name === undefined ? {} : { only: [name] }),
        ...(silent
          ? {}
          : {
              onStep: (step) => progress.step(step),
              onProgress: (feed, bytes, total) => progress.transfer(feed, bytes, total),
            }),
      });
      progress.end();
      ({ taken, news } = outcome);
      for (const warning of outcome.warnings) context.complain(`tidesman: ${warning}\n`);
    } finally {
      progress.end();
    }
  });
  const feeds = all.filter((feed) => name === undefined || feed.name === name);
  // A schedule tells what it finds once; who asks by hand is told what is.
  const wrong = feeds.filter((feed) => (due === true ? news.includes(feed.name) : isWrong(feed)));
  if (quiet !== true) {
    table(context, feeds, json === true);
    if (json !== true && taken !== null) tellChanges(context, all, taken);
  } else
    for (const feed of wrong)
      context.complain(`tidesman: feed ${feed.name}: ${printable(whatIsWrong(feed))}\n`);
  return wrong.length > 0 ? FOUND : DONE;
};

/** What the update did, in a line for each list that came into force. */
function tellChanges({ output }: Context, feeds: readonly FeedReport[], taken: readonly string[]): void {
  for (const { name, changes, entries } of feeds.filter((feed) => taken.includes(feed.name))) {
    const what =
      changes === null ? "" : `: ${number(changes.added)} added, ${number(changes.removed)} dropped`;
    output.text(`${name}: a new list of ${entriesOf(entries)}${what}`, "  ", "green");
  }
  if (taken.length === 0) output.text("No list changed.");
}

interface TakeOver {
  /** Whether the daemon may do all of it, and not only take it over. */
  readonly mayHandOver: boolean;
  /** Says nothing of a daemon that is down. */
  readonly silent: boolean;
}

/** Does `work` on the disk, then has the daemon take over what it left there; hands back the feeds as they are then. */
async function takeOver(
  context: Context,
  { mayHandOver, silent }: TakeOver,
  work: () => Promise<void>,
): Promise<readonly FeedReport[]> {
  try {
    await work();
  } catch (error) {
    // Who may use the control socket and not the disk has the daemon do it; it only knows how to do all.
    if (!mayHandOver || !(error instanceof TidesmanError) || error.code !== "TM_NOT_PERMITTED") throw error;
    try {
      return await (await connect(context)).updateFeeds();
    } catch (second) {
      throw isUnreachable(second) ? error : second;
    }
  }
  try {
    return await (await connect(context)).loadFeeds();
  } catch (error) {
    if (!isUnreachable(error)) throw error;
    if (!silent) context.complain("tidesman: the daemon does not run; it takes these feeds when it starts\n");
    return (await context.intelligence()).reports(context.places, context.complain) ?? [];
  }
}

const showFeed: Action<JsonOption> = async (context, { json }, name = "") => {
  const feed = (await reports(context)).find((one) => one.name === name);
  if (feed === undefined)
    throw new TidesmanError(
      "TM_NOT_FOUND",
      `there is no feed \`${name}\`; \`tidesman feeds list\` names them`,
    );
  const { output } = context;
  if (json === true) {
    output.json(feed);
    return DONE;
  }
  const when = (time: string | null): string => (time === null ? "never" : localTime(time));
  const { changes } = feed;
  output.facts([
    ["name", feed.name],
    ["state", stateOf(feed), isWrong(feed) ? "red" : null],
    ...optional("why", feed.error),
    ["source", feed.url ?? feed.path],
    ["kind", feed.kind === "address" ? feed.kind : `${feed.kind}, ${feed.match}`],
    ["format", feed.format ?? "not known yet"],
    ["effect", feed.effect ?? "that of the rule"],
    ["entries", `${number(feed.entries)}, read ${when(feed.loadedAt)}`],
    ...(feed.url === null
      ? []
      : ([
          [
            "checked",
            `${when(feed.checkedAt)}; last good ${when(feed.goodAt)}; due ${when(feed.dueAt)}; wanted since ${when(feed.wantedSince)}`,
          ],
          ["failures", number(feed.failures)],
        ] as const)),
    ...optional(
      "refused",
      feed.refused === 0 ? null : `${plural(feed.refused, "line")}: ${feed.samples.join("; ")}`,
    ),
    ...optional(
      "left out",
      feed.guarded.removed === 0 ? null : counted(feed.guarded.removed, feed.guarded.samples),
    ),
    ...(changes === null
      ? []
      : ([
          [feed.waiting ? "would add" : "added", counted(changes.added, changes.addedSamples)],
          [feed.waiting ? "would drop" : "dropped", counted(changes.removed, changes.removedSamples)],
          ...optional(
            "newly hits",
            changes.newlyHit.length === 0
              ? null
              : changes.newlyHit
                  .map((hit) => `${hit.name} (model ${hit.model.slice(0, 19)}, entry ${hit.entry})`)
                  .join("; "),
          ),
        ] as const)),
    ...optional("licence", feed.licence),
    ...optional("thanks to", feed.attribution),
  ]);
  return DONE;
};

const testFeed: Action<JsonOption> = async (context, { json }, name = "", target = "") => {
  const intelligence = await context.intelligence();
  const hits = intelligence.test(context.places, name, target);
  const { output } = context;
  const feed = intelligence.reports(context.places, () => undefined)?.find((one) => one.name === name);
  if (feed !== undefined && (!feed.enabled || feed.loadedAt === null)) {
    const what = feed.enabled ? "has no list in use" : "is off";
    context.complain(`tidesman: feed \`${name}\` ${what}: it lists nothing\n`);
  }
  if (json === true) output.json({ target, listed: hits.length > 0, hits });
  else if (hits.length === 0) output.text(`${target} is not listed by ${name === "all" ? "any feed" : name}`);
  else for (const hit of hits) output.text(`${target} is listed by ${hit.feed}: ${hit.entry} (${hit.match})`);
  return hits.length > 0 ? FOUND : DONE;
};

const rollbackFeeds: Action<JsonOption> = async (context, { json }) => {
  const outcome = (await context.intelligence()).rollback(context.places);
  await takeOver(context, { mayHandOver: false, silent: json === true }, async () => undefined);
  const told = { ...outcome, builtAt: iso(outcome.builtAt), left: iso(outcome.left) };
  if (json === true) context.output.json(told);
  else {
    const held =
      outcome.feeds.length === 0 ? "" : `; held until approved or changed: ${outcome.feeds.join(", ")}`;
    context.output.text(`The feeds of ${localTime(told.builtAt)} are in force again${held}.`);
  }
  return DONE;
};

const approveFeed: Action<JsonOption> = async (context, { json }, name = "") => {
  const intelligence = await context.intelligence();
  intelligence.approve(context.places, name);
  const feeds = await takeOver(context, { mayHandOver: false, silent: json === true }, async () => {
    await intelligence.update(context.places, { fetch: "none" });
  });
  const feed = feeds.filter((one) => one.name === name);
  table(context, feed, json === true);
  return feed.some(isWrong) ? FOUND : DONE;
};

const iso = (milliseconds: number): string => new Date(milliseconds).toISOString();

/** `12: a.example, b.example, ...`; `0`. */
function counted(count: number, samples: readonly string[]): string {
  if (samples.length === 0) return number(count);
  return `${number(count)}: ${samples.join(", ")}${count > samples.length ? ", ..." : ""}`;
}

function entriesOf(count: number): string {
  return count === 1 ? "1 entry" : `${number(count)} entries`;
}

function optional(label: string, value: string | null): readonly Fact[] {
  return value === null ? [] : [[label, value]];
}

/** The daemon cannot be reached, and nothing lies on this host that would say the same. */
function neither(unreachable: TidesmanError): TidesmanError {
  const hint =
    "no feeds are compiled on this host either: `tidesman feeds update` compiles them, also without it";
  return new TidesmanError("TM_UNREACHABLE", `${unreachable.message}; ${hint}`);
}

function isUnreachable(error: unknown): error is TidesmanError {
  return error instanceof TidesmanError && error.code === "TM_UNREACHABLE";
}

/** What cron should tell: not that a fresh list was never fetched, but that one cannot be, or waits for somebody. */
function isWrong({ state }: FeedReport): boolean {
  return state === "failed" || state === "refused" || state === "quarantined" || state === "held";
}

function whatIsWrong({ stale, goodAt, wantedSince, error, state }: FeedReport): string {
  if (!stale) return error ?? state;
  const since = goodAt === null ? `it is named, at ${wantedSince ?? "no time"}` : goodAt;
  return `stale, nothing good since ${since}${error === null ? "" : `: ${error}`}`;
}

const STATES: Readonly<Record<FeedReport["state"], string>> = {
  inUse: "in use",
  notFetched: "not fetched",
  failed: "failed",
  quarantined: "quarantined",
  held: "held",
  refused: "refused",
  off: "off",
};

function stateOf(feed: FeedReport): string {
  return feed.stale ? "stale" : STATES[feed.state];
}

function table({ output }: Context, feeds: readonly FeedReport[], json: boolean): void {
  if (json) {
    output.jsonLines(feeds);
    return;
  }
  if (feeds.length === 0) {
    output.text("There are no feeds.");
    return;
  }
  output.table(
    [
      { title: "NAME", flexible: true, least: 18 },
      { title: "KIND" },
      { title: "MATCH" },
      { title: "EFFECT" },
      { title: "ENTRIES", right: true },
      {
        title: "STATE",
        colour: (cell) =>
          /^(?:failed|refused|stale)$/.test(cell)
            ? "red"
            : /^(?:held|quarantined)$/.test(cell)
              ? "yellow"
              : null,
      },
      { title: "LOADED" },
    ],
    feeds.map((feed) => [
      feed.name,
      feed.kind,
      feed.kind === "address" ? "-" : feed.match,
      feed.effect ?? "rule's",
      number(feed.entries),
      stateOf(feed),
      feed.loadedAt === null || !feed.enabled ? "-" : localTime(feed.loadedAt).slice(0, 16),
    ]),
  );
  for (const feed of feeds) {
    if (feed.error !== null && feed.state !== "notFetched")
      output.text(`${feed.name}: ${feed.error}`, "  ", "red");
    if (feed.refused > 0) {
      const samples = feed.samples.length === 0 ? "" : `: ${feed.samples.join("; ")}`;
      const readAs = feed.format === null ? "" : ` (read as ${feed.format})`;
      const lines = plural(feed.refused, "line");
      output.text(`${feed.name}: ${lines} without an entry${readAs}${samples}`, "  ", "yellow");
    }
    const { removed, samples } = feed.guarded;
    if (removed > 0) {
      const what = feed.kind === "address" ? "in internal networks" : "for popular names";
      output.text(
        `${feed.name}: left out ${entriesOf(removed)} ${what}: ${samples.join(", ")}`,
        "  ",
        "yellow",
      );
    }
  }
}
