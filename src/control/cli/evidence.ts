/** `tidesman evidence`: what blocked containers were when they were blocked. */
import type { Command } from "commander";
import type { EvidenceReport, EvidenceSummary } from "../types.ts";
import { type Attach, connect, DONE, JSON_OPTION, type JsonOption } from "./context.ts";
import { localTime, number } from "./layout.ts";
import type { Output } from "./output.ts";

export function define(program: Command, attach: Attach): void {
  const command = program
    .command("evidence")
    .description("list the evidence taken at blocks, or show one")
    .argument("[which]", "its identifier, or a container: the latest of it")
    .option(...JSON_OPTION);
  attach<JsonOption>(command, async (context, { json }, which) => {
    const client = await connect(context);
    const { output } = context;
    if (which === undefined) {
      const listed = await client.evidenceList();
      if (json === true) output.jsonLines(listed);
      else writeList(output, listed);
      return DONE;
    }
    const evidence = await client.evidence(which);
    if (json === true) output.json(evidence);
    else write(output, evidence);
    return DONE;
  });
}

function writeList(output: Output, listed: readonly EvidenceSummary[]): void {
  if (listed.length === 0) {
    output.text("There is no evidence: no container was blocked.");
    return;
  }
  output.table(
    [
      { title: "ID" },
      { title: "CONTAINER", flexible: true },
      { title: "RESULT" },
      { title: "REASON", flexible: true },
    ],
    listed.map(({ id, container, result, reason }) => [id, container.name, result, reason]),
  );
}

function write(output: Output, evidence: EvidenceReport): void {
  const { container, processes, sockets, interfaces, omitted } = evidence;
  output.facts([
    ["evidence", evidence.id],
    ["container", `${container.name} (${container.image})`],
    ["taken", `${localTime(evidence.time)}, in ${number(evidence.took)} ms`],
    ["because", evidence.reason],
    ["then", evidence.result],
    ...(evidence.complete ? [] : [["incomplete", "it ended, or time ran out", "yellow"] as const]),
  ]);
  output.text(`processes${left(omitted.processes)}:`);
  output.table(
    [
      { title: "PID", right: true },
      { title: "INSIDE", right: true },
      { title: "PARENT", right: true },
      { title: "USER", right: true },
      { title: "EXECUTABLE", flexible: true, keepEnd: true },
      { title: "COMMAND", flexible: true, least: 20 },
    ],
    processes.map((one) => [
      ...[one.pid, one.innerPid, one.parent, one.user].map(String),
      one.executable || `[${one.name}]`,
      one.commandLine,
    ]),
  );
  output.text(`sockets${left(omitted.sockets)}:`);
  output.table(
    [
      { title: "SOCKET" },
      { title: "STATE" },
      { title: "LOCAL", flexible: true },
      { title: "REMOTE", flexible: true },
      { title: "PROCESSES", flexible: true },
    ],
    sockets.map((one) => [
      one.protocol,
      one.state ?? "-",
      one.local,
      one.remote ?? "-",
      one.processes.join(" ") || "-",
    ]),
  );
  output.text("interfaces:");
  for (const { name, addresses } of interfaces) output.text(`${name} ${addresses.join(" ")}`, "  ");
  output.text("what it did before:");
  for (const { time, message } of evidence.recorder) output.text(`${localTime(time)} ${message}`, "  ");
}

function left(count: number): string {
  return count === 0 ? "" : `; ${number(count)} left out`;
}
