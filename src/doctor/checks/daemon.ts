/** Does it run, is it this version, and what does it complain of itself? */
import type { Check } from "../patient.ts";
import { verdictsOf } from "../verdict.ts";

const { ok, warning, problem, unknown } = verdictsOf("daemon");

export const daemon: Check = ({ status, trouble, config, version }) => {
  if (status === null) {
    const message = trouble?.message ?? "it does not answer";
    if (trouble?.code === "TM_NOT_PERMITTED") return [unknown(message)];
    const meanwhile = config.failMode === "open" ? "pass unseen" : "are dropped where rules were left behind";
    return [problem(`${message}. Meanwhile new connections of containers ${meanwhile} (\`failMode\`)`)];
  }
  const { pid, failMode, policy } = status;
  const away = failMode === "open" ? "pass unseen" : "are dropped";
  const verdicts = [
    ok(`runs as process ${pid}, version ${status.version}; while it is away new connections ${away}`),
  ];
  if (status.version !== version) {
    verdicts.push(
      warning(
        `version ${status.version} runs, this command is ${version}`,
        "restart it (systemctl restart tidesman)",
      ),
    );
  }
  if (failMode !== config.failMode) {
    const message = `it runs with \`failMode: ${failMode}\`, the file says \`${config.failMode}\``;
    verdicts.push(warning(message, "restart it: the file is read at the start"));
  }
  if (policy.lastError !== null) {
    verdicts.push(
      problem(
        `the policy was refused at ${policy.lastError.time}, revision ${policy.revision} stays in force: ${policy.lastError.message}`,
        "mend the file and run `tidesman policy reload`",
      ),
    );
  }
  if (config.log.level === "debug")
    verdicts.push(warning("it logs at level `debug`", "set `log.level` to `info` once you have seen enough"));
  const lost = status.dropped.findings + status.audits.dropped;
  if (lost > 0) {
    const message = `${lost} findings were lost before they could be stored`;
    verdicts.push(
      warning(message, "raise `audits.queue`, or look at what makes so many (`tidesman audits`)"),
    );
  }
  return verdicts;
};
