/** `tidesman incidents`: patterns of audits that want somebody's attention, with their evidence. */
import type { Command } from "commander";
import type { IncidentReport, IncidentSummary } from "../types.ts";
import {
  type Action,
  type Attach,
  type Context,
  connect,
  DONE,
  JSON_OPTION,
  type JsonOption,
} from "./context.ts";
import { localTime, lostEvents, number, wrap } from "./layout.ts";
import type { Output } from "./output.ts";

interface ListOptions extends JsonOption {
  readonly all?: boolean;
  readonly follow?: boolean;
}
interface NoteOptions extends JsonOption {
  readonly note?: string;
}

export function define(program: Command, attach: Attach): void {
  const incidents = program.command("incidents").description("list incidents, look into them, close them");
  const list = incidents
    .command("list", { isDefault: true })
    .description("list open incidents, the latest first")
    .option("--all", "closed ones too")
    .option("-f, --follow", "oldest first, and go on with what opens, changes or is closed")
    .option(...JSON_OPTION);
  const show = incidents
    .command("show <id>")
    .description("one incident with its evidence")
    .option(...JSON_OPTION);
  const acknowledge = incidents
    .command("ack <id>")
    .description("say that somebody has seen it; it stays open")
    .option("--note <text>", "what is known so far")
    .option(...JSON_OPTION);
  const close = incidents
    .command("close <id>")
    .description("close it; it opens again when it comes again within a day")
    .requiredOption("--note <text>", "what it was")
    .option(...JSON_OPTION);
  attach(list, listIncidents);
  attach<JsonOption>(show, async (context, { json }, id = "") => {
    return write(context, await (await connect(context)).incident(id), json === true);
  });
  attach<NoteOptions>(acknowledge, async (context, { note, json }, id = "") => {
    return write(
      context,
      await (await connect(context)).acknowledgeIncident(id, note ?? null),
      json === true,
    );
  });
  attach<NoteOptions>(close, async (context, { note = "", json }, id = "") => {
    return write(context, await (await connect(context)).closeIncident(id, note), json === true);
  });
}

const listIncidents: Action<ListOptions> = async (context, options) => {
  if (options.follow === true) return follow(context, options);
  const { all, json } = options;
  const { output } = context;
  const incidents = await (await connect(context)).incidents(all === true);
  if (json === true) output.jsonLines(incidents);
  else if (incidents.length === 0)
    output.text(all === true ? "There are no incidents." : "No incident is open.");
  else {
    output.table(
      [
        { title: "ID" },
        { title: "KIND", flexible: true },
        { title: "STATE" },
        { title: "CONTAINER", flexible: true, least: 10 },
        { title: "LAST" },
        { title: "COUNT", right: true },
      ],
      incidents.map((one: IncidentSummary) => [
        one.id.slice(0, 12),
        one.kind,
        one.state === "acknowledged" ? "ack" : one.state,
        one.container.name,
        localTime(one.lastAt),
        number(one.count),
      ]),
    );
  }
  return DONE;
};

/** Subscribes before it reads what there is, so that nothing falls between; what it has written it does not repeat. */
async function follow(context: Context, options: ListOptions): Promise<never> {
  const { output, complain } = context;
  const client = await connect(context);
  const events = await client.events();
  const written = new Map<string, string>();
  const tell = (incident: IncidentSummary): void => {
    const text = JSON.stringify(incident);
    if (written.get(incident.id) === text) return;
    if (incident.state === "closed") written.delete(incident.id);
    else written.set(incident.id, text);
    if (options.json === true) output.jsonLines([incident]);
    else writeLine(output, incident);
  };
  for (const incident of [...(await client.incidents(options.all === true))].reverse()) tell(incident);
  for (;;) {
    const { value: event } = await events.next();
    if (event.kind === "lost") complain(lostEvents(event.count));
    if (event.kind === "incident") tell(event.incident);
  }
}

/** Two lines: when, what, who; and what was seen. */
function writeLine(output: Output, incident: IncidentSummary): void {
  const { id, kind, state, container, summary, note, lastAt, closedAt, count } = incident;
  const head = `${localTime(closedAt ?? lastAt)} ${state} ${kind} ${container.name} x${number(count)} ${id}`;
  const noted = note === null ? "" : ` (${note})`;
  output.lines([
    ...wrap(head, output.width, "    "),
    ...wrap(`    ${summary}${noted}`, output.width, "    "),
  ]);
}

function write({ output }: Context, incident: IncidentReport, json: boolean): typeof DONE {
  if (json) {
    output.json(incident);
    return DONE;
  }
  const { omitted } = incident;
  output.facts([
    ["incident", incident.id],
    ["kind", incident.kind],
    [
      "state",
      incident.state + (incident.reopened > 0 ? `, opened again ${number(incident.reopened)} times` : ""),
    ],
    ["what", incident.summary],
    ["container", `${incident.container.name} (${incident.container.image})`],
    ["opened", localTime(incident.openedAt)],
    ["latest", localTime(incident.lastAt)],
    ["findings", `${number(incident.count)}: ${incident.attackTypes.join(", ")}`],
    ...incident.evidence.map((id) => ["at the block", `tidesman evidence ${id}`] as const),
    ...(incident.note === null ? [] : ([["note", incident.note]] as const)),
  ]);
  const left = (count: number): string => (count === 0 ? "" : `; ${number(count)} left out of the middle`);
  output.text(`evidence${left(omitted.timeline)}:`);
  for (const event of incident.timeline) output.text(`${localTime(event.time)} ${event.message}`, "  ");
  output.text(`what else the container did around it${left(omitted.recorder)}:`);
  for (const event of incident.recorder) output.text(`${localTime(event.time)} ${event.message}`, "  ");
  return DONE;
}
