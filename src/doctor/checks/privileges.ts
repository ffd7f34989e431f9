/** May the daemon (or, while it does not run, this user) do what the appliance needs? */
import { CAPABILITY } from "../../native/diagnosis.ts";
import type { Check } from "../patient.ts";
import { verdictsOf } from "../verdict.ts";

const { ok, warning, problem, unknown } = verdictsOf("privileges");

/** What fails without it; systemd/tidesman.service grants the same. */
const NEEDED: readonly (readonly [name: keyof typeof CAPABILITY, what: string])[] = [
  ["NET_ADMIN", "no rules, no packet queue"],
  ["NET_RAW", "iptables cannot change rules"],
  ["SYS_ADMIN", "container namespaces cannot be entered: listening ports and resets are not seen"],
];

export const privileges: Check = ({ host, status }) => {
  const who = status === null ? "this user" : `the daemon (process ${status.pid})`;
  const text = host.read(status === null ? "/proc/self/status" : `/proc/${status.pid}/status`);
  const mask = /^CapEff:\s*([0-9a-f]+)$/m.exec(text ?? "")?.[1];
  if (mask === undefined) return [unknown(`the capabilities of ${who} cannot be read`)];
  const held = BigInt(`0x${mask}`);
  const missing = NEEDED.filter(([name]) => ((held >> BigInt(CAPABILITY[name])) & 1n) === 0n);
  const verdicts =
    missing.length === 0
      ? [ok(`${who} has ${NEEDED.map(([name]) => `CAP_${name}`).join(", ")}`)]
      : missing.map(([name, what]) => {
          const message = `${who} has no CAP_${name}: ${what}`;
          if (status === null) return warning(message, "run this and the daemon as root");
          return problem(message, "run it as root, or as systemd/tidesman.service does");
        });
  if (host.user !== 0) verdicts.push(unknown("not run as root: some checks cannot look", "run it with sudo"));
  return verdicts;
};
