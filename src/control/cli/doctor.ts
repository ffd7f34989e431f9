/** `tidesman doctor`: is this host fit, and is all well with the daemon? Works without one, and says less then. */
import { hostname } from "node:os";
import { join } from "node:path";
import type { Command } from "commander";
import type { Patient } from "../../doctor/patient.ts";
import type { Level, Verdict } from "../../doctor/verdict.ts";
import { TidesmanError } from "../../errors.ts";
import { DEFAULT_PLACES } from "../places.ts";
import { version } from "../version.ts";
import { type Attach, type Context, connect, DONE, FOUND, JSON_OPTION, type JsonOption } from "./context.ts";
import { checkConfig, checkFeeds, checkPolicy } from "./examine.ts";
import { type Colour, plural } from "./layout.ts";
import type { Fact } from "./output.ts";

const COLOURS: Readonly<Record<Level, Colour | null>> = {
  ok: null,
  warning: "yellow",
  problem: "red",
  unknown: "dim",
};

export function define(program: Command, attach: Attach): void {
  const command = program
    .command("doctor")
    .description("examine this host and the daemon, with what to do")
    .option(...JSON_OPTION)
    .addHelpText("after", "\nExit status 1 when there is a problem; warnings are none.");
  attach<JsonOption>(command, async (context, { json }) => {
    const examine = await context.doctor();
    const verdicts = await examine(await admit(context));
    const count = (level: Level): number => verdicts.filter((verdict) => verdict.level === level).length;
    const ok = count("problem") === 0;
    if (json === true) context.output.json({ ok, verdicts });
    else {
      context.output.facts(verdicts.map(fact));
      const summary = [
        plural(count("problem"), "problem"),
        plural(count("warning"), "warning"),
        `${count("ok")} ok`,
        ...(count("unknown") === 0 ? [] : [`${count("unknown")} could not be told`]),
      ];
      context.output.lines([""]);
      context.output.text(summary.join(", "));
    }
    return ok ? DONE : FOUND;
  });
}

function fact({ check, level, message, remedy }: Verdict): Fact {
  const what = level === "unknown" ? "not told" : level;
  return [check, `${what}: ${message}${remedy === null ? "" : `\ndo: ${remedy}`}`, COLOURS[level]];
}

/** What there is to know of the files and the daemon; the host is looked at by the checks. */
async function admit(context: Context): Promise<Omit<Patient, "host">> {
  const { places } = context;
  const read = await context.readers();
  const named = (key: keyof typeof DEFAULT_PLACES): boolean => places[key] !== DEFAULT_PLACES[key];
  const { config, ...configuration } = checkConfig(read, places.configFile, named("configFile"), hostname());
  const files = [
    configuration,
    checkPolicy(read, places.policyFile, named("policyFile")),
    checkFeeds(read, places.feedsFile, {
      required: named("feedsFile"),
      bodies: join(places.stateDirectory, "feeds", "bodies"),
      environment: process.env,
    }),
  ];
  const client = await connect(context);
  const status = await answerOf(client.status());
  const containers = await answerOf(client.containers());
  const reported = status instanceof TidesmanError ? null : status;
  return {
    places,
    config: config ?? read.config(null, places.configFile, hostname()),
    files,
    status: reported,
    trouble: status instanceof TidesmanError ? status : null,
    containers: containers instanceof TidesmanError ? [] : containers,
    feeds: reported?.feeds ?? (await storedFeeds(context)),
    version: version(),
  };
}

async function answerOf<T>(question: Promise<T>): Promise<T | TidesmanError> {
  try {
    return await question;
  } catch (error) {
    if (error instanceof TidesmanError) return error;
    throw error;
  }
}

/** What a daemon would start with. */
async function storedFeeds(context: Context): Promise<Patient["feeds"]> {
  const { reports } = await context.intelligence();
  try {
    return reports(context.places, () => undefined);
  } catch {
    // What is wrong with the manifest or the folder, the checks of files and storage say.
    return null;
  }
}
