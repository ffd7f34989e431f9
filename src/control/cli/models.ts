/** `tidesman models …`: what was learned about each image, and what an operator makes of it. */
import { resolve } from "node:path";
import type { Command } from "commander";
import { TidesmanError } from "../../errors.ts";
import { parseDuration } from "../../quantity.ts";
import type { ModelChange, ModelReport } from "../types.ts";
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
import { plural, shortDigest } from "./layout.ts";
import { visible, writeModel, writeModels } from "./model-layout.ts";

const KEY = ["<key>", "image digest, its beginning, or image name (see `models list`)"] as const;

interface RelearnOptions extends JsonOption {
  readonly afresh?: boolean;
}
interface ExtendOptions extends JsonOption {
  readonly for: string;
}
interface ExportOptions extends JsonOption {
  readonly output?: string;
}
interface PromoteOptions extends JsonOption {
  readonly rule: string;
  readonly write?: boolean;
}

export function define(program: Command, attach: Attach): void {
  const models = program.command("models").description("list, show and change learned models");
  const command = (name: string, description: string): Command =>
    models.command(name).description(description);
  const list = models
    .command("list", { isDefault: true })
    .description("list all models")
    .option(...JSON_OPTION);
  attach(list, listModels);
  attach(
    command("show", "show what a model holds")
      .argument(...KEY)
      .option(...JSON_OPTION),
    showModel,
  );
  attach(
    command("diff", "show what only one of two models holds; exit status 1 when they differ")
      .argument("<a>", KEY[1])
      .argument("<b>", "the other")
      .option(...JSON_OPTION),
    diffModels,
  );
  const change = (
    name: string,
    description: string,
    changeOf: (options: RelearnOptions & ExtendOptions, entry: string) => ModelChange,
    more: (command: Command) => Command = (one) => one,
  ): void => {
    const made = more(command(name, description).argument(...KEY)).option(...JSON_OPTION);
    attach<RelearnOptions & ExtendOptions>(made, async (context, options, key = "", entry = "") => {
      const wanted = changeOf(options, entry);
      const model = await (await connect(context)).changeModel(key, wanted);
      return told(context, options, model, "is now");
    });
  };
  const entry = (one: Command): Command =>
    one.argument("<entry>", "as shown: a name, 443/tcp, listen:80/tcp, 10.0.0.0/24:5432/tcp");
  change(
    "relearn",
    "learn again, for the whole learning time",
    ({ afresh = false }) => ({ action: "relearn", afresh }),
    (one) => one.option("--afresh", "forget everything first"),
  );
  change("extend", "learn for longer", extension, (one) =>
    one.requiredOption("--for <duration>", "run time to learn for besides: 30m, 2h, 1d"),
  );
  change("manual", "learn until told to stop", () => ({ action: "manual" }));
  change("stop", "stop learning, judge from now on", () => ({ action: "stop" }));
  change("lock", "judge, and change no more", () => ({ action: "lock" }));
  change("unlock", "undo a lock", () => ({ action: "unlock" }));
  change("forget", "take an entry out", (_, text) => ({ action: "forget", entry: text }), entry);
  change(
    "expand",
    "put its names in a wildcard's place",
    (_, text) => ({ action: "expand", entry: text }),
    entry,
  );
  attach(
    command("export", "write a model as a file")
      .argument(...KEY)
      .option("--output <file>", "instead of standard output")
      .option(...JSON_OPTION),
    exportModel,
  );
  attach(
    command("import", "take a model from a file, and lock it")
      .argument("<file>", "as `models export` wrote it; -: standard input")
      .option(...JSON_OPTION),
    importModel,
  );
  attach(
    command("promote", "show how a rule of the policy file allows what a model holds")
      .argument(...KEY)
      .requiredOption("--rule <name>", "rule whose lists get the entries")
      .option("--write", "change the policy file")
      .option(...JSON_OPTION),
    promoteModel,
  );
}

const listModels: Action<JsonOption> = async (context, { json }) => {
  const models = await (await connect(context)).models();
  if (json === true) context.output.jsonLines(models);
  else if (models.length === 0) context.output.text("Nothing was learned yet.");
  else writeModels(context.output, models);
  return DONE;
};

const showModel: Action<JsonOption> = async (context, { json }, key = "") => {
  const model = await (await connect(context)).model(key);
  if (json === true) context.output.json(model);
  else writeModel(context.output, model);
  return DONE;
};

const diffModels: Action<JsonOption> = async (context, { json }, keyA = "", keyB = "") => {
  const { difference } = await import("../models/entries.ts");
  const { output } = context;
  const client = await connect(context);
  const [a, b] = [await client.model(keyA), await client.model(keyB)];
  const { onlyA, onlyB } = difference(a, b);
  const same = onlyA.length + onlyB.length === 0;
  if (json === true) output.json({ a: a.key, b: b.key, onlyA, onlyB });
  else if (same) output.text("Both hold the same.");
  else {
    output.text(`--- ${shortDigest(a.key)} ${a.image}`, "    ", "bold");
    output.text(`+++ ${shortDigest(b.key)} ${b.image}`, "    ", "bold");
    for (const text of onlyA) output.text(`- ${text}`, "  ", "red");
    for (const text of onlyB) output.text(`+ ${text}`, "  ", "green");
  }
  return same ? DONE : FOUND;
};

function extension({ for: text }: ExtendOptions): ModelChange {
  const time = parseDuration(text);
  if (time === null || time === 0) {
    throw new TidesmanError("TM_USAGE", `--for \`${text}\` is no duration; 30m, 2h and 1d are`);
  }
  return { action: "extend", time: time / 1000 };
}

function told(context: Context, { json }: JsonOption, model: ModelReport, verb: string): typeof DONE {
  const { key, image, state, locked, names, outboundPorts } = model;
  if (json === true) context.output.json(model);
  else {
    const held = `${plural(names, "name")}, ${plural(outboundPorts, "outbound port")}`;
    const how = locked ? `${state} and locked` : state;
    context.output.text(`${shortDigest(key)} (${image}) ${verb} ${how}; ${held}`, "  ");
  }
  return DONE;
}

const exportModel: Action<ExportOptions> = async (context, { output: file, json }, key = "") => {
  const model = await (await connect(context)).exportModel(key);
  const text = `${JSON.stringify(model, null, 2)}\n`;
  if (file === undefined && json === true) context.output.json(model);
  else if (file === undefined) context.output.lines([text.trimEnd()]);
  else {
    const { writeWhole } = await import("../models/files.ts");
    // What containers do is for those who may read the models' database.
    writeWhole(resolve(file), text, 0o600);
    if (json === true) context.output.json({ key: model.key, image: model.image, file: resolve(file) });
    else context.output.text(`${shortDigest(model.key)} (${model.image}) was written to ${file}`, "  ");
  }
  return DONE;
};

const importModel: Action<JsonOption> = async (context, options, file = "") => {
  const { inputFile, readText } = await import("../models/files.ts");
  const text = readText(inputFile(file), "TM_USAGE");
  let model: unknown;
  try {
    model = JSON.parse(text);
  } catch (error) {
    throw new TidesmanError("TM_USAGE", `\`${file}\` is no JSON, so no model`, { cause: error });
  }
  return told(context, options, await (await connect(context)).importModel(model), "was taken and is");
};

const promoteModel: Action<PromoteOptions> = async (context, { json, rule, write = false }, key = "") => {
  const [{ promote }, { unifiedDiff }, { readText, writeWhole }] = await Promise.all([
    import("../models/promote.ts"),
    import("../models/unified.ts"),
    import("../models/files.ts"),
  ]);
  const { output, places, readers } = context;
  const file = places.policyFile;
  const model = await (await connect(context)).model(key);
  const { policy } = await readers();
  const before = readText(file, "TM_POLICY_MISSING");
  policy(before, file);
  const { text, names, ports, leftOut } = promote(before, rule, model);
  policy(text, file);
  const changed = names.length + ports.length > 0;
  const diff = unifiedDiff(before, text, file, `${file} (with what the model holds)`);
  if (write && changed) writeWhole(file, text, 0o644);
  if (json === true)
    output.json({ file, rule, names, ports, leftOut, diff: diff.join("\n"), written: write && changed });
  else if (!changed) output.text(`Rule \`${rule}\` allows all of it already.`);
  else {
    output.lines(diff.map(visible));
    const added = `${plural(names.length, "name")}, ${plural(ports.length, "port")}`;
    const next = write
      ? "written; `tidesman policy reload` puts it in force"
      : "nothing was written; --write does it";
    output.text(`${added}: ${next}`);
  }
  if (json !== true && leftOut.length > 0) {
    const samples = leftOut.slice(0, 3).map((name) => `\`${visible(name)}\``);
    output.text(`${plural(leftOut.length, "name")} that no rule can hold left out: ${samples.join(", ")}`);
  }
  return DONE;
};
