/** The shape of policy.yaml after it was read and checked: plain data, safe to send between threads. */
import type { Effect } from "./types.ts";

export interface PolicyFile {
  readonly version: 1;
  readonly rules: readonly RuleFile[];
}

export interface RuleFile {
  readonly name: string;
  readonly scope?: ScopeFile;
  readonly dns?: DnsSection;
  readonly network?: NetworkSection;
}

/** Fields are ANDed, values in a field ORed, `*` wildcards, a leading `-` excludes. No field: every container. */
export interface ScopeFile {
  readonly containers?: readonly string[];
  readonly images?: readonly string[];
  readonly labels?: Readonly<Record<string, string | readonly string[]>>;
  readonly namespaces?: readonly string[];
  readonly hosts?: readonly string[];
}

export interface DnsSection {
  readonly effect?: Effect;
  readonly allowed?: readonly string[];
  readonly denied?: readonly string[];
  readonly deniedEffect?: Effect;
  readonly intelligence?: Effect;
  readonly suspicious?: Effect;
  /** Accept allowed patterns that cover a public suffix. */
  readonly force?: boolean;
}

/** A port, or an inclusive range `[first, last]`, as read from `443` or `"8000-8100"`. */
export type PortEntry = number | string;

export interface AddressLists {
  readonly allowed?: readonly string[];
  readonly denied?: readonly string[];
  readonly deniedEffect?: Effect;
}
export interface PortLists {
  readonly allowed?: readonly PortEntry[];
  readonly denied?: readonly PortEntry[];
  readonly deniedEffect?: Effect;
}

export interface NetworkSection {
  readonly effect?: Effect;
  readonly outboundAddresses?: AddressLists;
  readonly outboundPorts?: PortLists;
  readonly listeningPorts?: PortLists;
  readonly intelligence?: Effect;
  readonly unresolved?: Effect;
  readonly portScan?: Effect;
  readonly rawSockets?: Effect;
}
