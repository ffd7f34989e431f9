/** `tidesman allow CONTAINER TARGET --for 1h`: lets one container reach it for a time, whatever its rule says. */
import { userInfo } from "node:os";
import type { Command } from "commander";
import { TidesmanError } from "../../errors.ts";
import { parseDuration } from "../../quantity.ts";
import type { ExemptionReport } from "../types.ts";
import { type Action, type Attach, connect, DONE, JSON_OPTION, type JsonOption } from "./context.ts";
import { localTime } from "./layout.ts";
import type { Output } from "./output.ts";

interface AllowOptions extends JsonOption {
  readonly for: string;
  readonly note?: string;
  readonly force?: boolean;
  readonly list?: boolean;
  readonly withdraw?: boolean;
}

export function define(program: Command, attach: Attach): void {
  const command = program
    .command("allow")
    .description("let one container reach a name or address for a time")
    .argument("[container]", "name, id, or beginning of an id")
    .argument("[target]", "a name, .name or *.name, or ADDRESS[:PORT[/PROTOCOL]]")
    .option("--for <duration>", "how long (30m, 2h, 7d at most)", "1h")
    .option("--note <text>", "why, for the audit")
    .option("--force", "also a wildcard over a public suffix")
    .option("--list", "show what is allowed so")
    .option("--withdraw", "end it before its time; without a target all of the container")
    .option(...JSON_OPTION)
    .addHelpText(
      "after",
      "\nIt goes before the rule's denied lists, feeds and the model, and ends by itself.\n" +
        "A blocked container stays blocked: tidesman unblock.",
    );
  attach(command, allow);
}

const allow: Action<AllowOptions> = async (context, options, container, target) => {
  const { output } = context;
  const json = options.json === true;
  if (options.list === true) {
    if (options.withdraw === true) throw usage("give either --list or --withdraw");
    const all = await (await connect(context)).exemptions();
    const wanted =
      container === undefined
        ? all
        : all.filter((one) => one.container.name === container || one.container.id.startsWith(container));
    if (json) output.jsonLines(wanted);
    else if (wanted.length === 0) output.text("There are no exemptions.");
    else writeExemptions(output, wanted);
    return DONE;
  }
  if (container === undefined) throw usage("give a container and a target, or --list");
  if (options.withdraw === true) {
    const ended = await (await connect(context)).withdrawExemptions(container, target, operator());
    if (json) output.jsonLines(ended);
    else for (const one of ended) output.text(`${one.container.name}: ${one.entry} is judged again`, "  ");
    return DONE;
  }
  if (target === undefined) throw usage("give a target: a name, or ADDRESS[:PORT[/PROTOCOL]]");
  const time = parseDuration(options.for);
  if (time === null || time === 0) throw usage(`--for \`${options.for}\` is no duration; 30m, 2h and 1d are`);
  const { note, force = false } = options;
  const given = { time: time / 1000, by: operator(), note, force };
  const outcome = await (await connect(context)).exempt(container, target, given);
  if (json) output.json(outcome);
  else {
    const end = localTime(outcome.until);
    output.text(`${outcome.container.name} may reach ${outcome.entry} until ${end}`, "  ");
    for (const one of outcome.notes) output.text(`note: ${one}`, "  ", "yellow");
  }
  return DONE;
};

function writeExemptions(output: Output, exemptions: readonly ExemptionReport[]): void {
  output.table(
    [
      { title: "CONTAINER", flexible: true },
      { title: "MAY REACH", flexible: true, least: 18 },
      { title: "UNTIL" },
      { title: "BY", flexible: true },
      { title: "NOTE", flexible: true },
    ],
    exemptions.map(({ container, entry, until, by, note }) => [
      container.name,
      entry,
      localTime(until),
      by ?? "-",
      note ?? "-",
    ]),
  );
}

/** Who types: behind sudo, who called it. The socket tells nothing of it, so the daemon keeps what is said. */
function operator(): string | undefined {
  try {
    const name = process.env.SUDO_USER ?? userInfo().username;
    return name.trim() === "" ? undefined : name.slice(0, 64);
  } catch {
    // A user without an entry in passwd.
    return undefined;
  }
}

function usage(message: string): TidesmanError {
  return new TidesmanError("TM_USAGE", message);
}
