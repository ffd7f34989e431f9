/** One rule compiled, and what governs one kind of container: a rule with the model of an image, and exemptions. */
import { type NameMatch, NameMatcher, parseNamePattern } from "./domains.ts";
import type { Exemptions } from "./exemption.ts";
import { type PortMatch, PortMatcher, parsePortEntry } from "./ports.ts";
import { type AddressMatch, PrefixMatcher, parseAddressEntry } from "./prefixes.ts";
import { compileScope, type ScopeTest } from "./rules.ts";
import type { PortEntry, RuleFile } from "./schema.ts";
import type { Decision, Effect, ModelView, Profile, Reason } from "./types.ts";

/** `disable` and null lists stand for parts that do not speak. */
export interface CompiledNames {
  readonly effect: Effect;
  readonly denied: NameMatcher | null;
  readonly deniedEffect: Effect;
  readonly allowed: NameMatcher | null;
  readonly intelligence: Effect;
  readonly suspicious: Effect;
}

export interface CompiledNetwork {
  readonly effect: Effect;
  readonly addressDenied: PrefixMatcher | null;
  readonly addressDeniedEffect: Effect;
  readonly addressAllowed: PrefixMatcher | null;
  readonly portDenied: PortMatcher | null;
  readonly portDeniedEffect: Effect;
  readonly portAllowed: PortMatcher | null;
  readonly intelligence: Effect;
  readonly unresolved: Effect;
  readonly listeningDenied: PortMatcher | null;
  readonly listeningDeniedEffect: Effect;
  readonly listeningAllowed: PortMatcher | null;
  readonly rawSockets: Effect;
  readonly portScan: Effect;
}

export interface CompiledRule {
  readonly name: string;
  readonly inScope: ScopeTest;
  readonly dns: CompiledNames;
  readonly network: CompiledNetwork;
}

/** Throws when a list holds something that is none of its entries (parsePolicy has refused those). */
export function compileRule(rule: RuleFile): CompiledRule {
  const { dns, network } = rule;
  const dnsEffect = dns === undefined ? "disable" : (dns.effect ?? "alert");
  const networkEffect = network === undefined ? "disable" : (network.effect ?? "alert");
  const addresses = network?.outboundAddresses;
  const ports = network?.outboundPorts;
  const listening = network?.listeningPorts;
  const listeningDeniedEffect = listening?.deniedEffect ?? networkEffect;
  const deniedEffect = dns?.deniedEffect ?? dnsEffect;
  const addressDeniedEffect = addresses?.deniedEffect ?? networkEffect;
  const portDeniedEffect = ports?.deniedEffect ?? networkEffect;
  return {
    name: rule.name,
    inScope: compileScope(rule.scope),
    dns: {
      effect: dnsEffect,
      denied: deniedEffect === "disable" ? null : nameMatcher(dns?.denied),
      deniedEffect,
      allowed: nameMatcher(dns?.allowed),
      intelligence: dns?.intelligence ?? dnsEffect,
      suspicious: dns?.suspicious ?? dnsEffect,
    },
    network: {
      effect: networkEffect,
      addressDenied: addressDeniedEffect === "disable" ? null : prefixMatcher(addresses?.denied),
      addressDeniedEffect,
      addressAllowed: prefixMatcher(addresses?.allowed),
      portDenied: portDeniedEffect === "disable" ? null : portMatcher(ports?.denied),
      portDeniedEffect,
      portAllowed: portMatcher(ports?.allowed),
      intelligence: network?.intelligence ?? networkEffect,
      unresolved: network?.unresolved ?? "disable",
      listeningDenied: listeningDeniedEffect === "disable" ? null : portMatcher(listening?.denied),
      listeningDeniedEffect,
      listeningAllowed: portMatcher(listening?.allowed),
      // Few containers need one, and those can be named; so they are told of wherever connections are judged.
      rawSockets: network?.rawSockets ?? (networkEffect === "disable" ? "disable" : "alert"),
      portScan: network?.portScan ?? (networkEffect === "disable" ? "disable" : "alert"),
    },
  };
}

function nameMatcher(list: readonly string[] = []): NameMatcher | null {
  return list.length === 0
    ? null
    : new NameMatcher(list.map((entry) => accept(entry, parseNamePattern(entry))));
}
function prefixMatcher(list: readonly string[] = []): PrefixMatcher | null {
  return list.length === 0
    ? null
    : new PrefixMatcher(list.map((entry) => accept(entry, parseAddressEntry(entry))));
}
function portMatcher(list: readonly PortEntry[] = []): PortMatcher | null {
  return list.length === 0
    ? null
    : new PortMatcher(list.map((entry) => accept(entry, parsePortEntry(entry))));
}
function accept<Entry extends object>(entry: PortEntry, parsed: Entry | string): Entry {
  if (typeof parsed === "string") throw new TypeError(`\`${entry}\` ${parsed}`);
  return parsed;
}

const SILENT_NAMES: CompiledNames = {
  effect: "disable",
  denied: null,
  deniedEffect: "disable",
  allowed: null,
  intelligence: "disable",
  suspicious: "disable",
};
const SILENT_NETWORK: CompiledNetwork = {
  effect: "disable",
  addressDenied: null,
  addressDeniedEffect: "disable",
  addressAllowed: null,
  portDenied: null,
  portDeniedEffect: "disable",
  portAllowed: null,
  intelligence: "disable",
  unresolved: "disable",
  listeningDenied: null,
  listeningDeniedEffect: "disable",
  listeningAllowed: null,
  rawSockets: "disable",
  portScan: "disable",
};

/** What a model says of a name: nothing (there is none), that it learns, that it does not know it; or the entry. */
export const MODEL_SILENT = "";
export const MODEL_LEARNS = "?";
export const MODEL_DEVIATES = "!";

/** The same for a port; an opinion on one is a number made by `portOpinion`. */
export const PORT_SILENT = 0;
export const PORT_LEARNS = 1;

/** `protocol`: IP protocol number; `port`: 0–65535; `known`: whether the model holds them. Distinct for all three. */
export function portOpinion(protocol: number, port: number, known: boolean): number {
  return (1 << 25) | (protocol << 17) | (Number(known) << 16) | port;
}
function isKnownPort(opinion: number): boolean {
  return (opinion & 0x10000) !== 0;
}

/** Clean decisions kept per profile before the store is begun anew. */
const MAX_CLEAN = 8192;

/**
 * Holds the decisions in which nothing was found, frozen and shared: one for each set of things that spoke. They are
 * made when first needed, so that the clean path makes no objects.
 */
export class CompiledProfile implements Profile {
  readonly index: number;
  readonly rule: string | null;
  readonly model: ModelView | null;
  /** Null for nearly all. */
  readonly exemptions: Exemptions | null;
  readonly dnsEffect: Effect;
  readonly networkEffect: Effect;
  readonly suspicious: Effect;
  readonly portScan: Effect;
  readonly dns: CompiledNames;
  readonly network: CompiledNetwork;
  /** Whether any part of the section speaks. */
  readonly judgesNames: boolean;
  readonly judgesConnections: boolean;
  readonly judgesListening: boolean;
  /** The decision where nothing speaks. */
  readonly unjudged: Decision;
  readonly #learning: Decision;
  readonly #revision: number;
  #names = new Map<NameMatch | null, Map<string, Decision>>();
  #connections = new Map<AddressMatch | null, Map<PortMatch | null, Map<number, Decision>>>();
  #kept = 0;

  constructor(
    index: number,
    rule: CompiledRule | null,
    model: ModelView | null,
    exemptions: Exemptions | null,
    revision: number,
  ) {
    this.index = index;
    this.exemptions = exemptions;
    this.rule = rule?.name ?? null;
    this.model = model;
    this.dns = rule?.dns ?? SILENT_NAMES;
    this.network = rule?.network ?? SILENT_NETWORK;
    this.dnsEffect = this.dns.effect;
    this.networkEffect = this.network.effect;
    this.suspicious = this.dns.suspicious;
    this.portScan = this.network.portScan;
    const { dns, network } = this;
    this.judgesNames =
      dns.effect !== "disable" ||
      dns.denied !== null ||
      dns.intelligence !== "disable" ||
      dns.suspicious !== "disable";
    this.judgesConnections =
      network.effect !== "disable" ||
      network.addressDenied !== null ||
      network.portDenied !== null ||
      network.intelligence !== "disable" ||
      network.unresolved !== "disable";
    this.judgesListening = network.effect !== "disable" || network.listeningDenied !== null;
    this.#revision = revision;
    this.unjudged = this.#clean([], false);
    this.#learning = this.#clean([], true);
  }

  /** The decision on a name that `allowed` allows (null: no list) and of which the model says `opinion`. */
  cleanName(allowed: NameMatch | null, opinion: string): Decision {
    if (allowed === null) {
      if (opinion === MODEL_SILENT) return this.unjudged;
      if (opinion === MODEL_LEARNS) return this.#learning;
    }
    const opinions = this.#names.get(allowed);
    const kept = opinions?.get(opinion);
    if (kept !== undefined) return kept;
    const reasons: Reason[] = [];
    if (allowed !== null) reasons.push({ kind: "allowed", list: "dns.allowed", ...allowed });
    const learned = this.modelReason(opinion);
    if (learned !== null) reasons.push(learned);
    const decision = this.#clean(reasons, opinion === MODEL_LEARNS);
    this.#makeRoom();
    const room = this.#names.get(allowed) ?? new Map<string, Decision>();
    this.#names.set(allowed, room.set(opinion, decision));
    return decision;
  }

  /**
   * The decision on a connection whose address and port these entries allow (null: no list), and of whose port the
   * model says `opinion` (PORT_SILENT, PORT_LEARNS or a `portOpinion`).
   */
  cleanConnection(address: AddressMatch | null, port: PortMatch | null, opinion: number): Decision {
    if (address === null && port === null) {
      if (opinion === PORT_SILENT) return this.unjudged;
      if (opinion === PORT_LEARNS) return this.#learning;
    }
    const kept = this.#connections.get(address)?.get(port)?.get(opinion);
    if (kept !== undefined) return kept;
    const reasons: Reason[] = [];
    if (address !== null)
      reasons.push({ kind: "allowed", list: "network.outboundAddresses.allowed", ...address });
    if (port !== null) reasons.push({ kind: "allowed", list: "network.outboundPorts.allowed", ...port });
    const learned = this.portReason(opinion);
    if (learned !== null) reasons.push(learned);
    const decision = this.#clean(reasons, opinion === PORT_LEARNS);
    this.#makeRoom();
    const byPort = this.#connections.get(address) ?? new Map<PortMatch | null, Map<number, Decision>>();
    this.#connections.set(address, byPort);
    const room = byPort.get(port) ?? new Map<number, Decision>();
    byPort.set(port, room.set(opinion, decision));
    return decision;
  }

  /** What the model said of a name, or null when it said nothing. */
  modelReason(opinion: string): Reason | null {
    if (this.model === null || opinion === MODEL_SILENT || opinion === MODEL_LEARNS) return null;
    const { state } = this.model;
    if (opinion === MODEL_DEVIATES) return { kind: "model", match: "none", state };
    return { kind: "model", entry: opinion, match: opinion.startsWith("*.") ? "suffix" : "exact", state };
  }

  /** What the model said of a port, or null when it said nothing. */
  portReason(opinion: number): Reason | null {
    if (this.model === null || opinion === PORT_SILENT || opinion === PORT_LEARNS) return null;
    const { state } = this.model;
    if (!isKnownPort(opinion)) return { kind: "model", match: "none", state };
    return { kind: "model", entry: String(opinion & 0xffff), match: "port", state };
  }

  #makeRoom(): void {
    if (++this.#kept <= MAX_CLEAN) return;
    this.#kept = 1;
    this.#names = new Map();
    this.#connections = new Map();
  }

  #clean(reasons: readonly Reason[], learn: boolean): Decision {
    for (const reason of reasons) Object.freeze(reason);
    return Object.freeze<Decision>({
      verdict: "allow",
      effect: null,
      attackType: null,
      rule: this.rule,
      reasons: Object.freeze(reasons),
      learn,
      revision: this.#revision,
    });
  }
}
