/** `tidesman policy [show|check|reload|replay|import-prisma]`: the rules in force, and those about to be. */
import type { Command } from "commander";
import { TidesmanError } from "../../errors.ts";
import { printable } from "../printable.ts";
import { type Action, type Attach, connect, DONE, JSON_OPTION, type JsonOption } from "./context.ts";
import { type CheckedFile, checkPolicy, statusOf, writeNotices, writeProblems } from "./examine.ts";
import { localTime, plural } from "./layout.ts";
import type { ReplayOptions } from "./replay.ts";

export function define(program: Command, attach: Attach): void {
  const policy = program.command("policy").description("show, check, reload, try out or import rules");
  const show = policy
    .command("show", { isDefault: true })
    .description("show the rules in force")
    .option(...JSON_OPTION);
  const check = policy
    .command("check")
    .description("check the policy file; needs no daemon")
    .argument("[file]", "instead of the one of --policy; -: standard input")
    .option(...JSON_OPTION);
  const reload = policy
    .command("reload")
    .description("read the policy file again")
    .option(...JSON_OPTION);
  const prisma = policy
    .command("import-prisma")
    .description("rules from a Prisma Cloud Compute policy; needs no daemon")
    .argument("<file>", "container runtime policy, as its API exports it (JSON); -: standard input")
    .option("--output <file>", "write them there instead of showing them")
    .option(...JSON_OPTION);
  const replay = policy
    .command("replay")
    .description("what would have gone otherwise under the policy of --policy")
    .option("--since <time>", "audits since then: how long ago (24h, 7d) or a date", "24h")
    .option(...JSON_OPTION)
    .addHelpText("after", "\nNothing is changed. Exit status 1 when something would go otherwise.");
  attach(show, showPolicy);
  attach(check, checkFile);
  attach(reload, reloadPolicy);
  attach<ReplayOptions>(replay, async (...given) => (await import("./replay.ts")).replayPolicy(...given));
  attach(prisma, importPrisma);
}

const showPolicy: Action<JsonOption> = async ({ output, ...context }, { json }) => {
  const policy = await (await connect({ output, ...context })).policy();
  if (json === true) {
    output.json(policy);
    return DONE;
  }
  const source = policy.file ?? "built-in defaults, there is no file";
  output.text(
    `# revision ${policy.revision} since ${localTime(policy.loadedAt)}, from ${source}`,
    "# ",
    "dim",
  );
  // Verbatim, so that it can be saved and used again; only what would control the terminal is made visible.
  output.lines(policy.text.trimEnd().split("\n").map(visible));
  return DONE;
};

/** Tabs stay: they may stand in YAML. */
function visible(line: string): string {
  return line.split("\t").map(printable).join("\t");
}

const checkFile: Action<JsonOption> = async (context, { json }, file) => {
  const { output, places, readers } = context;
  const { inputFile } = await import("../models/files.ts");
  const path = file === undefined ? places.policyFile : inputFile(file);
  const checked: CheckedFile = checkPolicy(await readers(), path, true);
  if (json === true) output.json(checked);
  else {
    writeNotices(output, checked.notices);
    writeProblems(output, checked.problems);
    if (checked.problems.length === 0) output.text(`${path}: ${checked.summary}; no errors`);
  }
  return statusOf([checked]);
};

interface ImportOptions extends JsonOption {
  readonly output?: string;
}

/** What could not be taken over stands as comments at the head, so that it is not lost. */
const importPrisma: Action<ImportOptions> = async (context, { json, output: target }, file = "") => {
  const { output, complain, readers } = context;
  const [{ resolve }, { stringify }, { inputFile, readText, writeWhole }, read] = await Promise.all([
    import("node:path"),
    import("yaml"),
    import("../models/files.ts"),
    readers(),
  ]);
  const { policy, notes } = read.prisma(readText(inputFile(file), "TM_POLICY_MISSING"), file);
  const head = notes.map((note) => `# ${printable(note)}\n`).join("");
  const text = `${head}${stringify(policy, { lineWidth: 0 })}`;
  // What is handed out is what `policy reload` would take.
  read.policy(text, target ?? "the imported policy");
  if (target !== undefined) writeWhole(resolve(target), text, 0o640);
  if (json === true) output.json({ policy, notes });
  else if (target === undefined) output.lines(text.trimEnd().split("\n").map(visible));
  else output.text(`${resolve(target)}: ${plural(policy.rules.length, "rule")}`);
  if (notes.length > 0 && json !== true)
    complain(
      `tidesman: ${plural(notes.length, "note")} on what was not taken over, at the head of the rules\n`,
    );
  return DONE;
};

const reloadPolicy: Action<JsonOption> = async (context, { json }) => {
  const client = await connect(context);
  const outcome = await client.reload().catch((error: unknown) => {
    if (!(error instanceof TidesmanError) || error.code === "TM_UNREACHABLE") throw error;
    if (error.code === "TM_NOT_PERMITTED") throw error;
    throw new TidesmanError(error.code, `the policy was refused, the running one stays:\n${error.message}`);
  });
  if (json === true) context.output.json(outcome);
  else {
    writeNotices(context.output, outcome.notices);
    const change =
      outcome.revision === outcome.previousRevision
        ? `revision ${outcome.revision} stays: nothing changed`
        : `revision ${outcome.revision} is in force, before it was ${outcome.previousRevision}`;
    context.output.text(`${change}; ${plural(outcome.rules, "rule")}`);
  }
  return DONE;
};
