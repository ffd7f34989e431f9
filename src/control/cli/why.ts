/** `tidesman why CONTAINER TARGET`: what would be decided, and everything that spoke. Decides; does nothing. */
import type { Command } from "commander";
import { parseTarget } from "../target.ts";
import type { Judgement, WhyReport } from "../types.ts";
import { type Attach, connect, DONE, FOUND, JSON_OPTION, type JsonOption } from "./context.ts";
import { shortDigest } from "./layout.ts";
import type { Output } from "./output.ts";

export function define(program: Command, attach: Attach): void {
  const command = program
    .command("why")
    .description("explain what a container may look up or connect to")
    .argument("<container>", "name, id, or beginning of an id")
    .argument("<target>", "a name, or ADDRESS[:PORT[/PROTOCOL]]; IPv6 in brackets")
    .option(...JSON_OPTION)
    .addHelpText("after", "\nExit status 1 when it would be dropped or audited.");
  attach<JsonOption>(command, async (context, { json }, container = "", target = "") => {
    // Said at once and without the daemon, if it is no target.
    parseTarget(target);
    const report = await (await connect(context)).why(container, target);
    if (json === true) context.output.json(report);
    else writeReport(context.output, report);
    // Whatever its rule allows, nothing of a blocked container passes.
    if (report.state === "blocked") return FOUND;
    return report.judgements.some((one) => one.verdict === "drop" || one.effect !== null) ? FOUND : DONE;
  });
}

function writeReport(output: Output, report: WhyReport): void {
  const { container, model } = report;
  output.facts([
    [
      "container",
      `${container.name} (${container.image}), ${report.state}`,
      report.state === "blocked" ? "red" : null,
    ],
    [
      "rule",
      report.rule === null
        ? "none governs it: nothing is analysed"
        : `${report.rule} (dns: ${report.dnsEffect}, network: ${report.networkEffect})`,
    ],
    ["model", model === null ? "none" : `${shortDigest(model.key)}, ${model.state}`],
    ["target", report.target],
    ...(report.names.length === 0 ? [] : [["names", report.names.join(" ")] as const]),
    ["revision", String(report.revision)],
  ]);
  for (const judgement of report.judgements) {
    output.lines([""]);
    output.text(
      `${judgement.event} ${judgement.subject}: ${outcome(judgement, report.state)}`,
      "  ",
      colour(judgement),
    );
    output.text(`  ${judgement.message}`, "  ");
    for (const reason of judgement.reasons) output.text(`  - ${explain(reason)}`, "    ");
    if (judgement.reasons.length === 0) output.text("  - no list or feed spoke", "    ");
  }
  if (report.notes.length > 0) output.lines([""]);
  for (const note of report.notes) output.text(note);
}

function outcome({ verdict, effect, attackType, rule }: Judgement, state: WhyReport["state"]): string {
  if (effect === null && verdict === "allow" && state === "blocked")
    return "would be allowed, were it not blocked";
  if (effect === null) return verdict === "allow" ? "would be allowed" : "would be dropped";
  const what = {
    alert: "would be allowed, and audited",
    prevent: "would be dropped",
    block: "would be dropped, and the container stopped",
  }[effect];
  const by = rule === null ? "" : ` by rule \`${rule}\``;
  return `${what}: ${attackType ?? "finding"} (${effect})${by}`;
}

function colour({ verdict, effect }: Judgement): "red" | "yellow" | "green" {
  if (verdict === "drop") return "red";
  return effect === null ? "green" : "yellow";
}

/** One reason as a sentence: `feed urlhaus lists evil.example (suffix)`. */
function explain(reason: Judgement["reasons"][number]): string {
  const about = reason.subject === undefined ? "" : `${reason.subject}: `;
  const match = reason.match === undefined || reason.match === "none" ? "" : ` (${reason.match})`;
  const detail = reason.message === undefined ? "" : `; ${reason.message}`;
  switch (reason.kind) {
    case "feed":
      return `${about}feed ${reason.feed ?? "?"} lists ${reason.entry ?? "it"}${match}${detail}`;
    case "denied":
    case "allowed": {
      const entry = reason.entry === undefined ? "" : ` by ${reason.entry}${match}`;
      return `${about}${reason.kind} in ${reason.list ?? "a list"}${entry}${detail}`;
    }
    case "model": {
      const state = reason.state === undefined ? "" : ` (${reason.state})`;
      return `${about}model${state} ${reason.entry === undefined ? "does not know it" : `knows ${reason.entry}`}${detail}`;
    }
    case "detection": {
      const by = reason.list === undefined ? "" : ` by ${reason.list}`;
      return `${about}detected${by}${reason.entry === undefined ? "" : ` ${reason.entry}`}${detail}`;
    }
    case "operator":
      return `${about}allowed by an operator with ${reason.entry ?? "an exemption"}${match}${detail}`;
    case "breaker":
      return `${about}not stopped${detail}`;
    case "error":
      return `${about}could not be evaluated, which counts as denied${detail}`;
  }
}
