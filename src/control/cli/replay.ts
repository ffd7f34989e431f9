/** `tidesman policy replay`: what would have gone otherwise under a policy that is not in force. */
import { TidesmanError } from "../../errors.ts";
import { parseMoment } from "../moment.ts";
import type { ReplayReport } from "../types.ts";
import { type Action, connect, DONE, FOUND, type JsonOption } from "./context.ts";
import { type Colour, localTime, number, plural } from "./layout.ts";
import type { Output } from "./output.ts";

export interface ReplayOptions extends JsonOption {
  readonly since: string;
}

type Group = ReplayReport["groups"][number];

const TITLES: Readonly<Record<Group["change"], readonly [title: string, colour: Colour]>> = {
  newlyDenied: ["newly denied", "red"],
  newlyBlocked: ["container newly stopped", "red"],
  newlyAudited: ["newly audited", "yellow"],
  noLongerDenied: ["no longer denied", "green"],
  noLongerBlocked: ["container no longer stopped", "green"],
  noLongerAudited: ["no longer audited", "green"],
};
/** Containers and kinds of change that are shown; --json has all. */
const SHOWN_CONTAINERS = 3;
const SHOWN_GROUPS = 20;

export const replayPolicy: Action<ReplayOptions> = async (context, { json, since: text }) => {
  const { output, places, now } = context;
  const since = parseMoment(text, now(), "--since");
  if (since > now()) throw new TidesmanError("TM_USAGE", `--since \`${text}\` is in the future`);
  const { readText } = await import("../models/files.ts");
  const file = places.policyFile;
  const policy = readText(file, "TM_POLICY_MISSING");
  const report = await (await connect(context)).replay(policy, file, new Date(since).toISOString());
  if (json === true) output.json(report);
  else writeReport(output, report);
  return report.groups.length > 0 ? FOUND : DONE;
};

function writeReport(output: Output, report: ReplayReport): void {
  const { sample, groups } = report;
  output.facts([
    ["policy", `${report.file}: ${plural(report.rules, "rule")}, against revision ${report.revision}`],
    [
      "audits",
      `${plural(sample.findings, "finding")} in ${plural(sample.audits, "audit")} since ${localTime(report.since)}`,
    ],
    [
      "learned",
      `${number(sample.entries)} names, ports and places in ${plural(sample.models, "model")}, whenever it was`,
    ],
    ["lookups", `${plural(sample.lookups, "name")} that containers resolved in the last ten minutes or more`],
  ]);
  output.lines([""]);
  if (groups.length === 0) output.text("Nothing of it would go otherwise.", "", "green");
  for (const group of groups.slice(0, SHOWN_GROUPS)) writeGroup(output, group);
  if (groups.length > SHOWN_GROUPS) {
    output.text(`${number(groups.length - SHOWN_GROUPS)} more kinds of change; --json tells them`);
    output.lines([""]);
  }
  for (const note of report.notes) output.text(`note: ${note}`, "  ", "dim");
}

function writeGroup(output: Output, group: Group): void {
  const { change, source, count, rules, effects, containers, samples } = group;
  const [title, colour] = TITLES[change];
  const what = {
    audits: plural(count, "finding"),
    models: `${number(count)} learned`,
    lookups: `${plural(count, "lookup")} of late`,
  }[source];
  const effect = `${effects.before ?? "passes"} -> ${effects.after ?? "passes"}`;
  output.text(`${title}: ${what} (${effect})`, "  ", colour);
  const rule = (name: string | null): string => (name === null ? "no rule" : `rule \`${name}\``);
  const governed =
    rules.before === rules.after ? rule(rules.after) : `${rule(rules.after)}, in force ${rule(rules.before)}`;
  output.text(`  ${governed}`, "    ");
  const shown = containers.slice(0, SHOWN_CONTAINERS);
  const left = containers.length - shown.length + group.moreContainers;
  output.text(
    `  ${group.image}: ${shown.join(", ")}${left === 0 ? "" : ` and ${number(left)} more`}`,
    "    ",
  );
  for (const sample of samples) {
    const times = sample.count === 1 ? "" : ` x${number(sample.count)}`;
    output.text(`  - ${sample.message}${times}`, "    ");
  }
  output.lines([""]);
}
