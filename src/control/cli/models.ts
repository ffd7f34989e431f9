/** `tidesman models [list|show KEY]`: what was learned about each image. */
import type { Command } from "commander";
import { formatDuration } from "../moment.ts";
import type { ModelDetail, ModelReport } from "../types.ts";
import { type Action, type Attach, connect, DONE, JSON_OPTION, type JsonOption } from "./context.ts";
import { localTime, number, plural, shortDigest } from "./layout.ts";
import type { Output } from "./output.ts";

export function define(program: Command, attach: Attach): void {
  const models = program.command("models").description("list and show learned models");
  const list = models
    .command("list", { isDefault: true })
    .description("list all models")
    .option(...JSON_OPTION);
  const show = models
    .command("show")
    .description("show what a model holds")
    .argument("<key>", "image digest, or its beginning (see `models list`)")
    .option(...JSON_OPTION);
  attach(list, listModels);
  attach(show, showModel);
}

const listModels: Action<JsonOption> = async (context, { json }) => {
  const models = await (await connect(context)).models();
  if (json === true) context.output.jsonLines(models);
  else if (models.length === 0) context.output.text("Nothing was learned yet.");
  else {
    context.output.table(
      [
        { title: "KEY", flexible: true },
        { title: "IMAGE", flexible: true, keepEnd: true },
        { title: "STATE" },
        { title: "LEARNED" },
        { title: "NAMES", right: true },
        { title: "PORTS", right: true },
        { title: "RUNNING", right: true },
      ],
      models.map((model) => [
        shortDigest(model.key),
        model.image,
        model.state,
        progress(model),
        number(model.names),
        number(model.outboundPorts),
        number(model.containers),
      ]),
    );
  }
  return DONE;
};

const showModel: Action<JsonOption> = async (context, { json }, key = "") => {
  const model = await (await connect(context)).model(key);
  if (json === true) context.output.json(model);
  else writeModel(context.output, model);
  return DONE;
};

/** How far it is: share of the learning time while it learns, run time afterwards. */
function progress(model: ModelReport): string {
  if (model.state !== "learning" || model.learningTime === 0) return formatDuration(model.learned);
  return `${Math.min(99, Math.floor((100 * model.learned) / model.learningTime))} %`;
}

function writeModel(output: Output, model: ModelDetail): void {
  output.facts([
    ["key", model.key],
    ["image", model.image],
    ["state", model.state],
    [
      "learned",
      `${formatDuration(model.learned)} of container run time; active after ${formatDuration(model.learningTime)}`,
    ],
    ["containers", `${number(model.containers)} running`],
    ["changed", localTime(model.changedAt)],
  ]);
  const seen = [
    { title: "COUNT", right: true },
    { title: "LAST SEEN" },
    { title: "TAUGHT BY", flexible: true },
  ] as const;
  const { names, outboundPorts } = model.entries;
  output.lines(["", output.paint(plural(names.length, "name"), "bold")]);
  if (names.length > 0) {
    output.table(
      [{ title: "NAME", flexible: true, keepEnd: true }, ...seen],
      names.map((one) => [one.name, number(one.count), localTime(one.lastSeen), one.container]),
    );
  }
  output.lines(["", output.paint(plural(outboundPorts.length, "outbound port"), "bold")]);
  if (outboundPorts.length > 0) {
    output.table(
      [{ title: "PORT" }, ...seen],
      outboundPorts.map((one) => [
        `${one.port}/${one.protocol}`,
        number(one.count),
        localTime(one.lastSeen),
        one.container,
      ]),
    );
  }
}
