/** `tidesman daemon`: runs the appliance in the foreground. */
import type { Command } from "commander";
import type { ExitStatus } from "../../errors.ts";
import type { Attach } from "./context.ts";

export function define(program: Command, attach: Attach): void {
  const command = program.command("daemon").description("run the appliance (systemd does this)");
  attach(command, async (context) => (await context.runDaemon(context.places)) as ExitStatus);
}
