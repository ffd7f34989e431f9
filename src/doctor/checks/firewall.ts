/**
 * Which iptables is used, whether another one is used beside it, and whether our rules stand where they have to: whole, and
 * first. The rules are those that the configuration would install.
 */
import { isComplete, parseInstalled } from "../../packet/installed.ts";
import { CHAINS, disjointPatterns, tableRules } from "../../packet/rules.ts";
import type { Check, Patient } from "../patient.ts";
import { type Verdict, verdictsOf } from "../verdict.ts";

const { ok, warning, problem, unknown } = verdictsOf("firewall");

const FAMILIES = [
  { family: 4, command: "iptables", names: "/proc/net/ip_tables_names", present: null },
  { family: 6, command: "ip6tables", names: "/proc/net/ip6_tables_names", present: "/proc/net/if_inet6" },
] as const;
type FamilyFacts = (typeof FAMILIES)[number];

export const firewall: Check = async (patient) => {
  const verdicts = await Promise.all(FAMILIES.map((facts) => lookAt(patient, facts)));
  return verdicts.flat();
};

async function lookAt(patient: Patient, facts: FamilyFacts): Promise<readonly Verdict[]> {
  const { host } = patient;
  const { command, family, present } = facts;
  if (present !== null && host.read(present) === null) return [];
  const version = await host.run(command, ["--version"]);
  if (version.status === 127) {
    const remedy = "install the package `iptables`";
    if (family === 6) return [warning("there is no `ip6tables`: IPv6 is not guarded", remedy)];
    return [problem("there is no `iptables`: no rule can be installed", remedy)];
  }
  const backend = version.stdout.includes("nf_tables") ? "nft" : "legacy";
  const saved = await host.run(`${command}-save`, []);
  if (saved.status !== 0)
    return [unknown(`\`${command}-save\` tells nothing: ${saved.stderr.trim()}`, "run it as root")];
  return [
    ...(await mixture(patient, facts, backend)),
    ...installed(patient, facts, backend, saved.stdout),
    ...marks(patient, command, saved.stdout),
  ];
}

/** Two backends decide one after the other; what is accepted in one can be dropped in the other. */
async function mixture(
  { host }: Patient,
  { command, names }: FamilyFacts,
  backend: "nft" | "legacy",
): Promise<readonly Verdict[]> {
  const remedy = "move all rules to one (update-alternatives --config iptables), the one that Docker uses";
  if (backend === "nft") {
    const tables = host.read(names)?.trim().split("\n").join(", ") ?? "";
    if (tables === "") return [];
    return [warning(`\`${command}\` is nft, and legacy tables are in use beside it (${tables})`, remedy)];
  }
  const other = await host.run(`${command}-nft-save`, []);
  if (other.status !== 0 || !/^-A /m.test(other.stdout)) return [];
  return [warning(`\`${command}\` is legacy, and there are nft rules beside it`, remedy)];
}

function installed(
  { config, status }: Patient,
  { command, family }: FamilyFacts,
  backend: string,
  saved: string,
): readonly Verdict[] {
  const { network, dns, failMode } = config;
  const current = parseInstalled(saved);
  const anything = [...current.values()].some(({ chains }) => chains.length > 0);
  if (status === null) {
    if (!anything) return [ok(`${command} (${backend}): no rules of ours while the daemon is away`)];
    const left = `${command}: rules of a daemon that was killed are left`;
    const remedy =
      "start the daemon (systemctl start tidesman); it replaces them, and an orderly stop removes them";
    if (failMode === "open") return [warning(`${left}; traffic passes by them`, remedy)];
    return [problem(`${left}, and drop every new connection of a container (\`failMode: closed\`)`, remedy)];
  }
  const wanted = tableRules(family, { config: network, dns, failMode });
  const patterns = disjointPatterns([...network.interfaces, ...status.networks.map(({ bridge }) => bridge)]);
  const broken = wanted.filter((rules) => !isComplete(current, [rules], patterns));
  if (broken.length > 0) {
    const tables = broken.map(({ table }) => table).join(", ");
    return [
      problem(
        `${command}: our rules are not whole in ${tables}`,
        "they should be back within a second; run this again, and see `tidesman audits` for who takes them away. " +
          "Where the configuration was changed, restart the daemon",
      ),
    ];
  }
  const before = ["mangle", "nat"].flatMap((table) => standsBefore(saved, table, command));
  return [
    ok(`${command} (${backend}): our rules are in place, in ${[...current.keys()].join(", ")}`),
    ...before,
  ];
}

/** Others' rules ahead of ours in a table's PREROUTING that may decide about a container's packet. */
function standsBefore(saved: string, table: string, command: string): readonly Verdict[] {
  const section = new RegExp(`^\\*${table}\\n(.*?)^COMMIT$`, "ms").exec(saved)?.[1] ?? "";
  const rules = section.split("\n").filter((line) => line.startsWith("-A PREROUTING "));
  const ours = rules.findIndex((line) => /-[jg] TM-/.test(line));
  return rules
    .slice(0, Math.max(0, ours))
    .filter((line) =>
      table === "mangle" ? !/-j (?:MARK|CONNMARK|LOG|NFLOG)\b/.test(line) : takesLookups(line),
    )
    .map((line) =>
      warning(
        `${command}: \`${line.slice(3)}\` stands before ours in ${table}; what it lets go is not seen`,
        "if it concerns containers, move it behind ours",
      ),
    );
}

function takesLookups(line: string): boolean {
  const port = /--dports? (\S+)/.exec(line)?.[1];
  return / -j (?:ACCEPT|RETURN|DNAT|REDIRECT)\b/.test(line) && (port === undefined || /\b53\b/.test(port));
}

/** Others that write or read the two bits of the mark that ours are. */
function marks({ config }: Patient, command: string, saved: string): readonly Verdict[] {
  const mask = BigInt(config.network.markMask);
  const ours: ReadonlySet<string> = new Set(Object.values(CHAINS));
  const clash = saved.split("\n").find((line) => {
    const chain = /^-A (\S+) /.exec(line)?.[1];
    if (chain === undefined || ours.has(chain)) return false;
    const written = /--(?:set-x?mark|and-mark|or-mark|xor-mark|mark) 0x[0-9a-f]+(?:\/0x([0-9a-f]+))?/.exec(
      line,
    );
    if (written === null) return false;
    return (BigInt(`0x${written[1] ?? "ffffffff"}`) & mask) !== 0n && / -j (?:MARK|CONNMARK)\b/.test(line);
  });
  if (clash === undefined) return [];
  return [
    warning(
      `${command}: \`${clash.slice(3)}\` writes to mark bits 0x${config.network.markMask.toString(16)}, which are ours`,
      "give one of the two other bits (`network.markMask`)",
    ),
  ];
}
