/** What it means when a firewall command fails, in words an operator can act on. */
import { TidesmanError } from "../errors.ts";
import type { RunResult } from "../run.ts";

/**
 * The error of a command that failed, with the line of `input` that it refused where it names one: TM_RULESET_TOOL_MISSING,
 * TM_NOT_PERMITTED or TM_RULESET.
 */
export function commandError(command: string, result: RunResult, input?: string): TidesmanError {
  const said = result.stderr.trim().split("\n").join("; ");
  if (result.status === 127) {
    return new TidesmanError(
      "TM_RULESET_TOOL_MISSING",
      `\`${command}\` was not found; install the package \`${command === "ipset" ? "ipset" : "iptables"}\``,
    );
  }
  if (/permission denied|must be root|operation not permitted/i.test(said)) {
    return new TidesmanError(
      "TM_NOT_PERMITTED",
      `\`${command}\` needs CAP_NET_ADMIN (${said}); run as root or as the systemd unit does`,
    );
  }
  const line = Number(/line:? (\d+)/i.exec(said)?.[1] ?? 0);
  const rule = line > 0 ? input?.split("\n")[line - 1] : undefined;
  const at = rule === undefined ? "" : ` at \`${rule}\``;
  return new TidesmanError(
    "TM_RULESET",
    `\`${command}\` failed with status ${result.status}${at}: ${said}; see \`tidesman doctor\` for what the kernel lacks`,
  );
}
