/** Models as text for people. */
import { formatDuration } from "../moment.ts";
import { printable } from "../printable.ts";
import type { ModelDetail, ModelReport } from "../types.ts";
import { type Colour, localTime, number, plural, shortDigest } from "./layout.ts";
import type { Output } from "./output.ts";

/** The key without `sha256:`, which commands take as well. */
const brief = (key: string): string => shortDigest(key).replace(/^sha256:/, "");

export function writeModels(output: Output, models: readonly ModelReport[]): void {
  output.table(
    [
      { title: "KEY", flexible: true, least: 12 },
      { title: "IMAGE", flexible: true, keepEnd: true },
      { title: "STATE" },
      { title: "LEARNED" },
      { title: "TRUST", colour: trustColour },
      { title: "NEW/H", right: true },
      { title: "NAMES", right: true },
      { title: "PORTS", right: true },
    ],
    models.map((model) => [
      brief(model.key),
      model.image,
      model.locked ? "locked" : model.state,
      progress(model),
      model.trust,
      saturation(model) ?? "-",
      number(model.names),
      number(model.outboundPorts),
    ]),
  );
}

/** How far it is: share of the learning time while it learns, run time afterwards. */
function progress(model: ModelReport): string {
  if (model.state !== "learning" || model.learningTime === 0) return formatDuration(model.learned);
  return `${Math.min(99, Math.floor((100 * model.learned) / model.learningTime))} %`;
}

function saturation({ saturation: perHour }: ModelReport): string | null {
  if (perHour === null) return null;
  return perHour < 10 ? perHour.toFixed(1) : number(perHour);
}

function trustColour(trust: string): Colour | null {
  return trust === "settled" ? "green" : trust === "learning" ? "yellow" : null;
}

export function writeModel(output: Output, model: ModelDetail): void {
  const perHour = saturation(model);
  const trial = model.trialUntil === null ? "" : `, on trial until ${localTime(model.trialUntil)}`;
  output.facts([
    ["key", model.key],
    ["image", model.image],
    ["state", `${model.state}${model.locked ? ", locked" : ""}${trial}`],
    [
      "learned",
      `${formatDuration(model.learned)} of container run time; active after ${formatDuration(model.learningTime)}`,
    ],
    ["trust", model.trust, trustColour(model.trust)],
    ["new", perHour === null ? "too little ran to tell" : `${perHour} entries per hour of run time, lately`],
    ...(model.predecessor === null ? [] : [["began with", shortDigest(model.predecessor)] as const]),
    ...(model.dropped === 0
      ? []
      : [
          [
            "dropped",
            `${plural(model.dropped, "sighting")} not taken, because it was full`,
            "yellow",
          ] as const,
        ]),
    ["containers", `${number(model.containers)} running`],
    ["changed", localTime(model.changedAt)],
  ]);
  const { names, outboundPorts, listeningPorts, internalDestinations } = model.entries;
  const port = (one: Port): string => `${one.port}/${one.protocol}`;
  section(output, "name", names, ({ name, members }) =>
    members.length === 0 ? name : `${name} (generalised from ${plural(members.length, "name")})`,
  );
  section(output, "outbound port", outboundPorts, port);
  section(output, "listening port", listeningPorts, (one) => `listen:${port(one)}`);
  section(output, "internal destination", internalDestinations, (one) => `${one.subnet}:${port(one)}`);
}

type Port = ModelDetail["entries"]["outboundPorts"][number];
type Seen = Pick<Port, "count" | "lastSeen" | "container" | "inherited">;

function section<Entry extends Seen>(
  output: Output,
  noun: string,
  entries: readonly Entry[],
  text: (entry: Entry) => string,
): void {
  output.lines(["", output.paint(plural(entries.length, noun), "bold")]);
  if (entries.length === 0) return;
  output.table(
    [
      { title: noun === "name" ? "NAME" : "ENTRY", flexible: true, least: 24 },
      { title: "COUNT", right: true },
      { title: "LAST SEEN" },
      { title: "TAUGHT BY", flexible: true },
    ],
    entries.map((one) => [
      text(one),
      number(one.count),
      localTime(one.lastSeen),
      one.inherited ? "earlier image" : one.container,
    ]),
  );
}

/** As it is, but for what would control the terminal; tabs stay. */
export function visible(line: string): string {
  return line.split("\t").map(printable).join("\t");
}
