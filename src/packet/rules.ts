/** The rules as text for `iptables-restore`; pure. What they do together is told at the top of ruleset.ts. */
import type { NetworkConfig } from "../config.ts";
import { flowMarks } from "./marks.ts";
import { type Family, setName } from "./sets.ts";

/** Names of our chains. Nothing else in the tables is ours, but for the jumps to the entry chains. */
export const CHAINS = {
  /** mangle: every packet from a guarded interface. */
  entry: "TM-PRE",
  /** mangle: containers that are cut off. */
  cut: "TM-CUT",
  /** mangle: a packet that came back from the queue with a decision in its mark. */
  decided: "TM-DECIDED",
  /** mangle: the rate guard. */
  guard: "TM-GUARD",
  /** mangle: what the rate guard drops, counted by source. */
  flood: "TM-FLOOD",
  /** mangle: to user space. */
  queue: "TM-QUEUE",
  /** nat: lookups to the DNS server. */
  lookups: "TM-DNS",
  /** filter: redirected lookups may come in. */
  input: "TM-IN",
} as const;

/** What marks a jump as ours. */
export const COMMENT = "tidesman";

export type Table = "mangle" | "nat" | "filter";

export interface RulesOptions {
  readonly config: Pick<NetworkConfig, "queue" | "markMask" | "connectionRate" | "connectionBurst">;
  readonly dns: DnsRules;
  readonly failMode: "open" | "closed";
}

export interface DnsRules {
  /** Port of the DNS server. */
  readonly port: number;
  /** Whether port 53 of every destination is redirected to it. */
  readonly redirect: boolean;
  /** Lookups per second and container. */
  readonly rate: number;
}

/** The part of a table that is ours. */
export interface TableRules {
  readonly table: Table;
  /** Chain of the table that jumps to `entry`, per interface. */
  readonly hook: "PREROUTING" | "INPUT";
  readonly entry: string;
  /** Chain name -> its rules, without `-A CHAIN`. */
  readonly chains: ReadonlyMap<string, readonly string[]>;
}

/** ICMPv6 types that keep a link alive: router and neighbour discovery (RFC 4861), MLDv2 reports (RFC 3810). */
const LINK_UPKEEP = [133, 134, 135, 136, 143] as const;
/** Where they may go unseen: what a router never forwards, and the host itself. */
const ON_LINK = ["-d fe80::/10", "-d ff02::/16", "-m addrtype --dst-type LOCAL"] as const;

/** Bytes of a TCP segment without payload, IP header included: from no TCP options to twenty bytes of them. */
const BARE_SEGMENT = { 4: "40:60", 6: "60:80" } as const;

/** Most that xt_hashlimit takes for a rate per second and for a burst (XT_HASHLIMIT_SCALE_v2). */
const MAX_RATE = 1_000_000;

/** Tables in the order of installation: decisions first, so that no redirected lookup comes unseen. */
export function tableRules(family: Family, options: RulesOptions): readonly TableRules[] {
  const tables: TableRules[] = [
    { table: "mangle", hook: "PREROUTING", entry: CHAINS.entry, chains: mangle(family, options) },
  ];
  if (options.dns.redirect) {
    tables.push({ table: "nat", hook: "PREROUTING", entry: CHAINS.lookups, chains: nat(family, options) });
  }
  tables.push({ table: "filter", hook: "INPUT", entry: CHAINS.input, chains: filter(options.dns) });
  return tables;
}

function mangle(family: Family, options: RulesOptions): ReadonlyMap<string, readonly string[]> {
  const { config, dns, failMode } = options;
  const { mask, allowed, denied } = flowMarks(config.markMask);
  const hex = (value: number): string => `0x${value.toString(16)}`;
  const isAllowed = `--mark ${hex(allowed)}/${hex(mask)}`;
  const isDenied = `--mark ${hex(denied)}/${hex(mask)}`;
  const unknown = `-m set ! --match-set ${setName("known", family)} src`;
  const icmp = family === 4 ? "icmp" : "ipv6-icmp";

  const entry = [
    `-m set --match-set ${setName("cut", family)} src -g ${CHAINS.cut}`,
    `-m mark ! --mark 0x0/${hex(mask)} -g ${CHAINS.decided}`,
    `-m connmark ${isAllowed} -j RETURN`,
    `-m connmark ${isDenied} -j DROP`,
    "-m conntrack --ctdir REPLY -j RETURN",
    `-p ${icmp} -m conntrack --ctstate RELATED -j RETURN`,
  ];
  if (family === 6) {
    for (const type of LINK_UPKEEP) {
      for (const where of ON_LINK)
        entry.push(
          `${where.startsWith("-d") ? `${where} ` : ""}-p ipv6-icmp -m icmp6 --icmpv6-type ${type}${where.startsWith("-m") ? ` ${where}` : ""} -j RETURN`,
        );
    }
  }
  if (failMode === "open") entry.push(notAlive(family));
  entry.push(`-g ${CHAINS.guard}`);

  const lookupLimit = perSource("lookup", dns.rate, Math.min(2 * dns.rate, MAX_RATE));
  const guard = [
    `-m conntrack --ctstate ESTABLISHED -g ${CHAINS.queue}`,
    `${unknown} ${limit("stray", config.connectionRate, config.connectionBurst)} -g ${CHAINS.flood}`,
    `${unknown} -g ${CHAINS.queue}`,
  ];
  for (const protocol of ["udp", "tcp"]) {
    const lookup = `-p ${protocol} -m ${protocol} --dport 53`;
    guard.push(`${lookup} ${lookupLimit} -g ${CHAINS.flood}`, `${lookup} -g ${CHAINS.queue}`);
  }
  guard.push(
    `${perSource("connection", config.connectionRate, config.connectionBurst)} -g ${CHAINS.flood}`,
    `-g ${CHAINS.queue}`,
  );

  return new Map([
    [CHAINS.entry, entry],
    [
      CHAINS.cut,
      [
        `-p tcp -m tcp --tcp-flags FIN,SYN,RST,PSH,URG RST -m length --length ${BARE_SEGMENT[family]} -m connmark ${isAllowed} -j RETURN`,
        "-j DROP",
      ],
    ],
    [
      CHAINS.decided,
      [
        `-j CONNMARK --save-mark --nfmask ${hex(mask)} --ctmask ${hex(mask)}`,
        `-m mark ! ${isAllowed} -j DROP`,
        `-j MARK --set-xmark 0x0/${hex(mask)}`,
      ],
    ],
    [CHAINS.guard, guard],
    [
      CHAINS.flood,
      [
        `${unknown} -m set --match-set ${setName("stray", family)} src -j DROP`,
        `-m set --match-set ${setName("flood", family)} src -j DROP`,
        `-j SET --add-set ${setName("flood", family)} src`,
        "-j DROP",
      ],
    ],
    [CHAINS.queue, [`-j NFQUEUE --queue-num ${config.queue}${failMode === "open" ? " --queue-bypass" : ""}`]],
  ]);
}

function nat(family: Family, { dns, failMode }: RulesOptions): ReadonlyMap<string, readonly string[]> {
  const redirect = ["udp", "tcp"].map(
    (protocol) => `-p ${protocol} -m ${protocol} --dport 53 -j REDIRECT --to-ports ${dns.port}`,
  );
  return new Map([[CHAINS.lookups, failMode === "open" ? [notAlive(family), ...redirect] : redirect]]);
}

function filter({ port }: DnsRules): ReadonlyMap<string, readonly string[]> {
  const accept = ["udp", "tcp"].map((protocol) => `-p ${protocol} -m ${protocol} --dport ${port} -j ACCEPT`);
  return new Map([[CHAINS.input, accept]]);
}

/** In open mode: nobody answers the heartbeat, so traffic goes its way. */
function notAlive(family: Family): string {
  return `-m set ! --match-set ${setName("alive", family)} src -j RETURN`;
}

/**
 * The kernel keeps a limit's buckets under its name and ignores other figures for a name it knows (xt_hashlimit,
 * `htable_find_get`), so the figures are part of the name.
 */
function limit(name: string, rate: number, burst: number): string {
  return `-m hashlimit --hashlimit-above ${rate}/sec --hashlimit-burst ${burst} --hashlimit-name tm-${name}-${rate}-${burst}`;
}

function perSource(name: string, rate: number, burst: number): string {
  return `-m hashlimit --hashlimit-above ${rate}/sec --hashlimit-burst ${burst} --hashlimit-mode srcip --hashlimit-name tm-${name}-${rate}-${burst}`;
}

/** A jump to one of our entry chains, as it stands in a table; without `-A` or `-I`. */
export function jump(rules: TableRules, pattern: string): string {
  return `${rules.hook} -i ${pattern} -m comment --comment ${COMMENT} -j ${rules.entry}`;
}

/**
 * Interface patterns of which none covers what another covers, so that no packet goes through our chains twice: a
 * pattern is dropped when one that ends in `+` says the same and more.
 */
export function disjointPatterns(patterns: Iterable<string>): readonly string[] {
  const all = [...new Set(patterns)];
  const covers = (wide: string, narrow: string): boolean =>
    wide !== narrow && wide.endsWith("+") && narrow.startsWith(wide.slice(0, -1));
  return all.filter((pattern) => !all.some((other) => covers(other, pattern))).sort();
}
