/** `tidesman unblock CONTAINER`: undoes what a `block` did. */
import type { Command } from "commander";
import { type Attach, connect, DONE, JSON_OPTION, type JsonOption } from "./context.ts";

export function define(program: Command, attach: Attach): void {
  const command = program
    .command("unblock")
    .description("give a blocked container its network and its life back")
    .argument("<container>", "name, id, or beginning of an id")
    .option(...JSON_OPTION);
  attach<JsonOption>(command, async (context, { json }, container = "") => {
    const outcome = await (await connect(context)).unblock(container);
    if (json === true) context.output.json(outcome);
    else context.output.text(`${outcome.name} is no longer blocked (${outcome.state}): ${outcome.message}`);
    return DONE;
  });
}
