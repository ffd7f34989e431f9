/** A host on paper, well unless something is said of it, and a daemon that runs on it. */
import { loadConfig } from "../../src/config.ts";
import type { StatusReport } from "../../src/control/types.ts";
import type { Check, Host, Patient } from "../../src/doctor/patient.ts";
import type { Level } from "../../src/doctor/verdict.ts";
import { TidesmanError } from "../../src/errors.ts";
import { disjointPatterns, jump, type Table, tableRules } from "../../src/packet/rules.ts";
import type { Family } from "../../src/packet/sets.ts";
import { feed, status } from "../control/scripted.ts";

export const config = loadConfig(null, "tidesman.yaml", "h1");
export const NOW = Date.parse("2026-11-24T12:00:00.000Z");

const ALL_CAPABILITIES = "CapEff:\t000001ffffffffff\n";
const FILES: Readonly<Record<string, string>> = {
  "/proc/sys/kernel/osrelease": "6.1.0\n",
  "/proc/net/if_inet6": "00000000000000000000000000000001 01 80 10 80 lo\n",
  "/proc/sys/net/ipv6/conf/all/disable_ipv6": "0\n",
  "/proc/self/status": ALL_CAPABILITIES,
  "/proc/4242/status": ALL_CAPABILITIES,
  "/proc/net/netfilter/nfnetlink_queue": " 5303   4242     0 2   256     0     0      120  1\n",
  "/proc/sys/net/netfilter/nf_conntrack_count": "100\n",
  "/proc/sys/net/netfilter/nf_conntrack_max": "1000\n",
  "/proc/sys/net/netfilter/nf_conntrack_acct": "0\n",
  "/etc/resolv.conf": "nameserver 192.0.2.53\n",
  "/sys/kernel/tracing/available_tracers": "nop\n",
  "/proc/net/udp": "  sl  local_address\n  1: 00000000:14B7 00000000:0000 07 0\n",
  "/proc/net/tcp": "  0: 00000000:14B7 00000000:0000 0A 0\n  1: 0100007F:1F75 00000000:0000 0A 0\n",
};

const ENGINE: Readonly<Record<string, unknown>> = {
  "/version": { Version: "27.0.1", ApiVersion: "1.46" },
  "/info": { SecurityOptions: ["name=seccomp,profile=builtin"] },
  "/containers/json": [],
};

export interface Said {
  /** Answers of the engine that are different, by path. */
  readonly engine?: Readonly<Record<string, unknown>>;
  /** Files that are different; null: not there. */
  readonly files?: Readonly<Record<string, string | null>>;
  /** What commands print, by the whole command line; those that are missing do not exist. */
  readonly commands?: Readonly<Record<string, string>>;
  readonly host?: Partial<Host>;
  readonly patient?: Partial<Patient>;
  /** Null: the daemon does not run. */
  readonly status?: Partial<StatusReport> | null;
}

/** `iptables-save` text with all rules of ours; `before` stand ahead of ours in the PREROUTING of a table. */
export function savedRules(family: Family, before: Partial<Record<Table, readonly string[]>> = {}): string {
  const { network, dns, failMode } = config;
  const patterns = disjointPatterns([...network.interfaces, ...status.networks.map(({ bridge }) => bridge)]);
  return tableRules(family, { config: network, dns, failMode })
    .map((rules) => {
      const { table, chains } = rules;
      return [
        `*${table}`,
        ...[...chains.keys()].map((chain) => `:${chain} - [0:0]`),
        ...(before[table] ?? []).map((line) => `-A PREROUTING ${line}`),
        ...patterns.map((pattern) => `-A ${jump(rules, pattern)}`),
        ...[...chains].flatMap(([chain, lines]) => lines.map((line) => `-A ${chain} ${line}`)),
        "COMMIT",
        "",
      ].join("\n");
    })
    .join("");
}

const COMMANDS: Readonly<Record<string, string>> = {
  "iptables --version": "iptables v1.8.9 (nf_tables)",
  "ip6tables --version": "ip6tables v1.8.9 (nf_tables)",
  "iptables-save": savedRules(4),
  "ip6tables-save": savedRules(6),
  "timedatectl show -p NTPSynchronized --value": "yes\n",
};

export function patientWith(said: Said): Patient {
  const commands = { ...COMMANDS, ...said.commands };
  const files: Readonly<Record<string, string | null>> = { ...FILES, ...said.files };
  const host: Host = {
    run: async (command, args) => {
      const stdout = commands[[command, ...args].join(" ")];
      return stdout === undefined
        ? { status: 127, stdout: "", stderr: "not found" }
        : { status: 0, stdout, stderr: "" };
    },
    user: 0,
    now: () => NOW,
    read: (path) => files[path] ?? null,
    kernelShortcomings: () => [],
    engine: async (_socket, path) =>
      said.engine?.[path] !== undefined || path in ENGINE
        ? { value: said.engine?.[path] ?? ENGINE[path] }
        : { error: "it answers with status 404" },
    ask: async () => null,
    space: () => ({ free: 2 ** 40, total: 2 ** 41 }),
    access: () => "writable",
    ...said.host,
  };
  const runs: StatusReport = {
    ...status,
    policy: { ...status.policy, lastError: null },
    rawSockets: { source: "trace", reason: null },
    ...said.status,
  };
  return {
    host,
    places: {
      configFile: "/c",
      policyFile: "/p",
      feedsFile: "/f",
      stateDirectory: "/state",
      runtimeDirectory: "/run",
    },
    config,
    files: [
      {
        kind: "policy",
        file: "/p",
        found: true,
        permitted: true,
        summary: "2 rules",
        problems: [],
        notices: [],
      },
    ],
    status: said.status === null ? null : runs,
    trouble: said.status === null ? new TidesmanError("TM_UNREACHABLE", "it is not there") : null,
    containers: [],
    feeds: [feed],
    version: "0.1.0",
    ...said.patient,
  };
}

/** What a check says, as `level: message`. */
export async function hear(check: Check, said: Said = {}): Promise<string[]> {
  const verdicts = await check(patientWith(said));
  return verdicts.map(({ level, message }) => `${level}: ${message}`);
}

export function levels(heard: readonly string[]): Level[] {
  return heard.map((line) => line.split(":")[0] as Level);
}
