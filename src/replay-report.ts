/** `tidesman policy replay`: what the daemon knows of what happened, judged again under a policy that is not in force. */
import { setImmediate } from "node:timers/promises";
import type { ReplayReport, ReplayRequest } from "./control/types.ts";
import type { Daemon } from "./daemon.ts";
import { openFeeds } from "./feed/index.ts";
import { parsePolicy } from "./policy/parse.ts";
import { compilePolicy } from "./policy/policy.ts";
import { type Replayed, replay } from "./replay/replay.ts";
import { auditContainer } from "./why.ts";

/** Throws TM_POLICY for a policy with mistakes, TM_STORE when audits cannot be read. */
export async function replayReport(daemon: Daemon, request: ReplayRequest): Promise<ReplayReport> {
  const { revisions, audits, models, registry, exemptions, data } = daemon.parts;
  const { policy } = parsePolicy(request.text, request.file);
  const { revision, feeds } = revisions.snapshot;
  const until = daemon.clock.now();
  const internal = daemon.internal();
  // Memory that is shared with the data thread: nothing is read again but what is looked up.
  const compiled = compilePolicy(policy, openFeeds(feeds, { trusted: true }), {
    revision,
    host: daemon.config.host,
  });
  const replayed = await replay({
    before: revisions.policy,
    after: compiled,
    since: request.since,
    until,
    audits: (filter) => audits.query(filter),
    models: {
      keys: () => models.list().map(({ key }) => key),
      show: (key) => models.show(key),
      view: (key) => models.view(key),
      keyOf: (container) => models.keyOf(container),
    },
    resolved: (container) => data.resolved(container),
    containers: registry.list().map(auditContainer),
    internet: (address) => !internal.contains(address, 0, address.length),
    pause: () => setImmediate(),
  });
  const { sample, tally } = replayed;
  const { oldest } = audits.stats();
  const iso = (time: number): string => new Date(time).toISOString();
  return {
    file: request.file,
    rules: policy.rules.length,
    revision,
    since: iso(request.since),
    until: iso(until),
    sample,
    totals: tally.totals,
    groups: [...tally.groups()],
    omitted: tally.omitted,
    notes: notesOn(replayed, {
      oldest: oldest !== null && oldest > request.since ? iso(oldest) : null,
      connected: registry.state.connected,
      exemptions: exemptions.list().length,
    }),
  };
}

/** What an operator has to know to read the numbers. */
function notesOn(
  { sample, tally }: Replayed,
  known: {
    /** The oldest audit, where it is younger than what was asked for. */
    readonly oldest: string | null;
    readonly connected: boolean;
    readonly exemptions: number;
  },
): string[] {
  const notes = [
    "what passed without an audit is known where a model learned it, and of the last ten minutes or more",
    "both policies were asked with the feeds and models in force now",
  ];
  const note = (count: number, text: string): void => {
    if (count > 0) notes.push(`${count} ${text}`);
  };
  if (known.oldest !== null) notes.push(`the oldest audit is of ${known.oldest}; nothing older is kept`);
  if (!known.connected) notes.push("the container engine does not answer: containers may be missing");
  note(
    sample.drifted,
    "findings would be told otherwise by the policy in force: feeds, models or rules changed since",
  );
  note(
    sample.unjudged,
    "findings were not judged again: no rule decided them, or too little of them was kept",
  );
  note(
    sample.guessed,
    "findings of folded audits were judged by the labels of another container of the image",
  );
  note(sample.idleModels, "models were left out: no container has their image now");
  note(sample.unjudgedEntries, "learned wildcards were left out: no names behind them are known");
  note(known.exemptions, "exemptions (`tidesman allow`) were left out of account");
  note(tally.omitted, "changes are counted and not listed: there are too many kinds of them");
  return notes;
}
