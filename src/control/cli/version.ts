/** `tidesman version` */
import type { Command } from "commander";
import { version } from "../version.ts";
import { type Attach, DONE, JSON_OPTION, type JsonOption } from "./context.ts";

export function define(program: Command, attach: Attach): void {
  const command = program
    .command("version")
    .description("print the version")
    .option(...JSON_OPTION);
  attach<JsonOption>(command, async ({ output }, { json }) => {
    if (json === true) output.json({ version: version(), node: process.version });
    else output.text(`tidesman ${version()} on Node.js ${process.version}`);
    return DONE;
  });
}
