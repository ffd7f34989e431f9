/** argv → a command. Only the modules of the commands that argv names are loaded; help loads them all. */
import { Command, CommanderError } from "commander";
import type { Places } from "../../config.ts";
import { EXIT, TidesmanError } from "../../errors.ts";
import { DEFAULT_PLACES } from "../places.ts";
import { version } from "../version.ts";
import type { Action, Attach, CommandModule, Context } from "./context.ts";

/** In the order in which help shows them. */
const COMMANDS: Readonly<Record<string, () => Promise<CommandModule>>> = {
  daemon: () => import("./daemon.ts"),
  status: () => import("./status.ts"),
  check: () => import("./check.ts"),
  doctor: () => import("./doctor.ts"),
  why: () => import("./why.ts"),
  containers: () => import("./containers.ts"),
  models: () => import("./models.ts"),
  audits: () => import("./audits.ts"),
  incidents: () => import("./incidents.ts"),
  evidence: () => import("./evidence.ts"),
  feeds: () => import("./feeds.ts"),
  policy: () => import("./policy.ts"),
  allow: () => import("./allow.ts"),
  unblock: () => import("./unblock.ts"),
  version: () => import("./version.ts"),
};

interface GlobalOptions {
  readonly config: string;
  readonly policy: string;
  readonly feeds: string;
  readonly state: string;
  readonly runtimeDir: string;
}

export interface ProgramOptions {
  readonly context: Omit<Context, "places">;
  /** Takes help and the version. */
  readonly print: (text: string) => void;
  /** Absolute form of a path on the command line. */
  readonly resolve: (path: string) => string;
  /** Tell where a defect of ours happened. */
  readonly debug: boolean;
}

/** Runs the command and returns its exit status; what went wrong has been told. Does not throw. */
export async function runProgram(argv: readonly string[], options: ProgramOptions): Promise<number> {
  const program = new Command("tidesman");
  let status: number = EXIT.ok;
  // Sub-commands inherit these settings only if they are made before them.
  program
    .description("Watches what containers send out: the names they look up, the connections they open.")
    .exitOverride()
    .configureOutput({
      writeOut: options.print,
      writeErr: options.context.complain,
      outputError: (text, write) => write(text.replace(/^error: (.*?)\n/, "tidesman: $1 (TM_USAGE)\n")),
      getOutHelpWidth: () => options.context.output.width,
      getErrHelpWidth: () => options.context.output.width,
    })
    .showHelpAfterError("Try `tidesman help`, or `tidesman help COMMAND`.")
    .version(version(), "-V, --version", "print the version")
    .option("--config <file>", "appliance configuration", DEFAULT_PLACES.configFile)
    .option("--policy <file>", "rules", DEFAULT_PLACES.policyFile)
    .option("--feeds <file>", "sources of intelligence feeds", DEFAULT_PLACES.feedsFile)
    .option("--state <dir>", "database and learned models", DEFAULT_PLACES.stateDirectory)
    .option("--runtime-dir <dir>", "control socket", DEFAULT_PLACES.runtimeDirectory)
    .addHelpText(
      "after",
      "\nExit status: 0 done, 1 the answer is no or something was found, 2 usage or\n" +
        "configuration, 3 the daemon cannot be reached, 4 not permitted.",
    );

  const attach: Attach = <Options>(command: Command, action: Action<Options>): void => {
    command.action(async (...given: unknown[]) => {
      const self = given.at(-1) as Command;
      const args = given.slice(0, -2).filter((argument) => typeof argument === "string");
      const places = placesOf(self.optsWithGlobals<GlobalOptions>(), options.resolve);
      status = await action({ ...options.context, places }, self.opts() as Options, ...args);
    });
  };
  for (const module of await modulesFor(argv)) module.define(program, attach);

  try {
    if (argv.length === 0) {
      program.outputHelp({ error: true });
      return EXIT.usage;
    }
    await program.parseAsync(argv, { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) return tell(error, options);
    // Help and version that were asked for also end this way, with status 0.
    return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  }
  return status;
}

/** One message, with the code that the documentation explains. */
function tell(error: unknown, { context: { complain }, debug }: ProgramOptions): number {
  if (error instanceof TidesmanError) {
    complain(`tidesman: ${error.message} (${error.code})\n`);
    return error.exitStatus;
  }
  complain(`tidesman: ${error instanceof Error ? error.message : String(error)} (TM_INTERNAL)\n`);
  const stack = error instanceof Error ? error.stack : undefined;
  if (debug && stack !== undefined) complain(`${stack}\n`);
  else complain("This is a defect of tidesman; with TIDESMAN_DEBUG=1 it says where.\n");
  return EXIT.found;
}

async function modulesFor(argv: readonly string[]): Promise<readonly CommandModule[]> {
  const named = argv.filter((word) => Object.hasOwn(COMMANDS, word));
  const first = argv.find((word) => !word.startsWith("-"));
  const general = named.length === 0 || (first === "help" && argv.length === 1);
  const names = Object.keys(COMMANDS).filter((name) => general || named.includes(name));
  return Promise.all(names.map((name) => COMMANDS[name]!()));
}

function placesOf(given: GlobalOptions, resolve: (path: string) => string): Places {
  return {
    configFile: resolve(given.config),
    policyFile: resolve(given.policy),
    feedsFile: resolve(given.feeds),
    stateDirectory: resolve(given.state),
    runtimeDirectory: resolve(given.runtimeDir),
  };
}
