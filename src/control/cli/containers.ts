/** `tidesman containers`: who is watched, and by which rule. */
import type { Command } from "commander";
import type { ContainerReport } from "../types.ts";
import { type Attach, connect, DONE, JSON_OPTION, type JsonOption } from "./context.ts";
import { effectColour } from "./layout.ts";

export function define(program: Command, attach: Attach): void {
  const command = program
    .command("containers")
    .description("list containers and what governs each")
    .option(...JSON_OPTION);
  attach<JsonOption>(command, async (context, { json }) => {
    const { output } = context;
    const containers = await (await connect(context)).containers();
    if (json === true) output.jsonLines(containers);
    else if (containers.length === 0) output.text("There are no containers.");
    else {
      output.table(
        [
          // What an operator types next: cut last.
          { title: "NAME", flexible: true, least: 18 },
          { title: "STATE", colour: effectColour },
          { title: "ADDRESS", flexible: true },
          { title: "RULE", flexible: true },
          { title: "DNS" },
          { title: "NETWORK" },
          { title: "MODEL" },
        ],
        containers.map((one) => [
          one.name,
          one.state,
          address(one),
          one.rule ?? "-",
          one.dnsEffect,
          one.networkEffect,
          one.model?.state ?? "-",
        ]),
      );
    }
    return DONE;
  });
}

/** The first address and how many more; link-local ones say nothing about which container it is. */
function address({ networks }: ContainerReport): string {
  const all = networks.flatMap((network) => network.addresses).filter((one) => !one.startsWith("fe80:"));
  const [first = "-", ...more] = all;
  return more.length === 0 ? first : `${first} +${more.length}`;
}
