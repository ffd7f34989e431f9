/** Which containers are not, or not fully, seen. */
import type { Check } from "../patient.ts";
import { verdictsOf } from "../verdict.ts";

const { ok, warning, unknown } = verdictsOf("coverage");

export const coverage: Check = ({ status, containers }) => {
  if (status === null) return [unknown("only the daemon knows which containers there are")];
  const running = containers.filter(({ state }) => state === "running" || state === "paused");
  const named = (some: typeof running): string => some.map(({ name }) => `\`${name}\``).join(", ");
  const host = running.filter(({ networkMode }) => networkMode === "host");
  const past = running.filter(
    (one) => one.networkMode !== "host" && one.networks.some(({ bridge }) => bridge === ""),
  );
  const ungoverned = running.filter(({ rule }) => rule === null);
  const verdicts = [];
  if (host.length > 0)
    verdicts.push(
      warning(`in the host's network, not seen: ${named(host)}`, "give them a network of their own"),
    );
  if (past.length > 0)
    verdicts.push(
      warning(
        `on a network past the host's bridges (macvlan, ipvlan), not seen there: ${named(past)}`,
        "attach them to a bridge network",
      ),
    );
  if (ungoverned.length > 0)
    verdicts.push(
      warning(
        `governed by no rule, and so not analysed: ${named(ungoverned)}`,
        "end policy.yaml in a rule without a scope",
      ),
    );
  const unseen = new Set([...host, ...past]);
  if (verdicts.length === 0 || running.length > unseen.size)
    verdicts.unshift(ok(`${running.length - unseen.size} of ${running.length} running containers are seen`));
  return verdicts;
};
