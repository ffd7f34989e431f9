/**
 * The words that all parts share: effects, attack types, events, decisions and reasons, and the two seams
 * (feeds, models) through which knowledge enters a decision. Nothing here does I/O.
 */
import type { Exemptions } from "./exemption.ts";

/** What a rule wants done about a finding. `disable`: the section is neither learned nor analysed. */
export type Effect = "disable" | "alert" | "prevent" | "block";

/** Effects in order of severity; a decision with several findings takes the most severe. */
export const EFFECTS: readonly Effect[] = ["disable", "alert", "prevent", "block"];

export const ATTACK_TYPES = [
  "feedDNS",
  "explicitlyDeniedDNS",
  "unexpectedDNS",
  "suspiciousDNS",
  "dnsRebinding",
  "feedIP",
  "explicitlyDeniedIP",
  "explicitlyDeniedOutboundPort",
  "unexpectedOutboundPort",
  "unresolvedDestination",
  "encryptedDNS",
  "explicitlyDeniedListeningPort",
  "unexpectedListeningPort",
  "horizontalPortScan",
  "verticalPortScan",
  "rawSocket",
  "spoofedSource",
  "malformedDNS",
  // Findings about the guard itself: the kernel's per-container rate guard dropped new connections, and
  // somebody else removed or changed our firewall rules.
  "connectionFlood",
  "rulesetChanged",
  // The source of a feed has given nothing for long.
  "staleFeed",
  // An operator lets a container reach something for a time, or does so no longer.
  "exempted",
] as const;
export type AttackType = (typeof ATTACK_TYPES)[number];

/** What a scope looks at. `image` is normalised (`docker.io/library/nginx:latest`). */
export interface ContainerFacts {
  readonly id: string;
  readonly name: string;
  readonly image: string;
  /** `sha256:…`; empty when the runtime does not know one. */
  readonly imageDigest: string;
  /** Kubernetes namespace, or null outside Kubernetes. */
  readonly namespace: string | null;
  readonly labels: Readonly<Record<string, string>>;
}

/**
 * Why a decision is what it is; one per list, feed, model or detector that spoke. `breaker`: a container was not stopped,
 * because rules had stopped as many as they may. `operator`: an exemption (exemption.ts). `entry` is the text an operator
 * wrote or a feed held, `list` the place in policy.yaml (`dns.denied`, `network.outboundPorts.allowed`).
 */
export interface Reason {
  readonly kind: "denied" | "allowed" | "feed" | "model" | "detection" | "breaker" | "operator" | "error";
  readonly list?: string;
  readonly feed?: string;
  readonly entry?: string;
  readonly match?: "exact" | "suffix" | "address" | "port" | "none";
  /** For `model`: its state. */
  readonly state?: ModelState;
  /** The hop, address or port that this reason is about, where it is not the subject asked for. */
  readonly subject?: string;
  readonly message?: string;
}

/** What policy says about one event. Shared and frozen where nothing was found. */
export interface Decision {
  readonly verdict: "allow" | "drop";
  /** The effect of the finding; null when nothing was found. `alert` has verdict `allow`, the others `drop`. */
  readonly effect: Exclude<Effect, "disable"> | null;
  readonly attackType: AttackType | null;
  /** Name of the governing rule; null when no rule governs the container. */
  readonly rule: string | null;
  /** All that spoke, the deciding one first. */
  readonly reasons: readonly Reason[];
  /** Whether the model may learn from this event. */
  readonly learn: boolean;
  readonly revision: number;
}

// ------------------------------------------------------------------------------------------------ events

/** A name as it is on the wire: length-prefixed labels, ASCII folded to lower case, ending in the root label. */
export type WireName = Uint8Array;
/** An address in network order: 4 or 16 bytes. IPv4-mapped IPv6 addresses are passed as 4 bytes. */
export type Address = Uint8Array;

/** A container asks for `name`; decided before anything leaves the host. */
export interface QueryEvent {
  readonly kind: "query";
  readonly profile: Profile;
  readonly name: WireName;
  /** RR type number. */
  readonly type: number;
}

/** The answer to a lookup, before it reaches the container: every CNAME hop and every address in it. */
export interface AnswerEvent {
  readonly kind: "answer";
  readonly profile: Profile;
  readonly name: WireName;
  readonly type: number;
  readonly rcode: number;
  /** CNAME/DNAME targets in order, `name` itself not included. */
  readonly hops: readonly WireName[];
  /** A and AAAA data, and the address hints of SVCB and HTTPS records. */
  readonly addresses: readonly Address[];
}

/** A new outbound connection. */
export interface ConnectionEvent {
  readonly kind: "connection";
  readonly profile: Profile;
  /** IP protocol number. */
  readonly protocol: number;
  readonly destination: Address;
  /** Destination port; for ICMP and ICMPv6 the type; 0 where the protocol has none. */
  readonly port: number;
  /** Whether `destination` is outside private, link-local, multicast, host and container networks. */
  readonly internet: boolean;
  /** Names that this container resolved `destination` from, most recent first; empty: never resolved by it. */
  readonly names: readonly string[];
}

export type PolicyEvent = QueryEvent | AnswerEvent | ConnectionEvent;

/** A container was found listening. Told once for each protocol, port and address. */
export interface ListeningEvent {
  readonly kind: "listening";
  readonly profile: Profile;
  /** IP protocol number: 6 or 17. */
  readonly protocol: number;
  readonly port: number;
  /** Address it is bound to; all zeros: every address. */
  readonly address: Address;
}

/** A process of a container was found with a socket that reads and writes packets past the kernel's own protocols. */
export interface RawSocketEvent {
  readonly kind: "rawSocket";
  readonly profile: Profile;
  /** `raw`: IP packets of one family (AF_INET, AF_INET6); `packet`: whole frames (AF_PACKET). */
  readonly socket: "raw" | "packet";
  /** Host pid, and the name that the process goes by; 0 and empty when nobody knows any more. */
  readonly pid: number;
  readonly command: string;
}

/** What detectors find in events of many; see `Policy.weigh`. */
export type DetectedType = "suspiciousDNS" | "horizontalPortScan" | "verticalPortScan";

/** What is found beside the traffic, when it is there already: nothing of it can be prevented, only told or blocked. */
export type SocketEvent = ListeningEvent | RawSocketEvent;

/**
 * What governs one container: its rule compiled, the model of its image, its exemptions. Opaque to callers; containers with
 * the same rule and model share one, so that it can key caches; those with exemptions have one of their own. Made by `Policy.profileFor`.
 */
export interface Profile {
  /** Small dense integer, unique within a revision. */
  readonly index: number;
  readonly rule: string | null;
  readonly model: ModelView | null;
  /** Effect of the `dns` section; `disable` still answers, it only does not judge. */
  readonly dnsEffect: Effect;
  readonly networkEffect: Effect;
  /** Effects of what detectors say about lookups and about port scans; `disable`: they need not look. */
  readonly suspicious: Effect;
  readonly portScan: Effect;
}

/**
 * One revision of policy, compiled; immutable. `decide` is pure, synchronous and does no I/O. Made by `compilePolicy`
 * in policy.ts; a reload makes a new one and swaps the reference.
 */
export interface Policy {
  readonly revision: number;
  /** The same rules against other feeds, as a new revision: no rule is compiled again. */
  withFeeds(feeds: FeedIndex, revision: number): Policy;
  /**
   * What the rule makes of a detection. `name`: of the lookup that it is about, null where it is about none; an allowed name
   * is not suspicious. A scan has happened when it is told: `prevent` tells it like `alert`.
   */
  weigh(
    profile: Profile,
    attackType: DetectedType,
    name: WireName | null,
    reasons: readonly Reason[],
  ): Decision;
  /**
   * The rule that governs the container (first scope that matches) with the model of its image and, where it has such, its
   * exemptions.
   */
  profileFor(container: ContainerFacts, model: ModelView | null, exemptions?: Exemptions | null): Profile;
  /** A throw inside is answered as denied (an erroring rule never passes), with a reason of kind `error`. */
  decide(event: PolicyEvent | SocketEvent): Decision;
}

// ------------------------------------------------------------------------------------------------ seams

export interface FeedHit {
  readonly feed: string;
  /** The entry as the feed wrote it (presentation form). */
  readonly entry: string;
  readonly match: "exact" | "suffix" | "address";
  /** The feed's own effect, when its source overrides the rule's `intelligence`. */
  readonly effect?: Exclude<Effect, "disable">;
}

/**
 * The compiled feeds as the decision sees them. Both look-ups return a shared empty array on a miss and do not
 * allocate then. Exact: no false positive.
 */
export interface FeedIndex {
  /** `name` in wire form at `bytes[offset]`, any case. */
  domain(bytes: Uint8Array, offset: number): readonly FeedHit[];
  /** 4 or 16 bytes at `bytes[offset]`. */
  address(bytes: Uint8Array, offset: number, length: 4 | 16): readonly FeedHit[];
}

export type ModelState = "learning" | "active" | "archived" | "manual";

/** A model as the decision sees it. */
export interface ModelView {
  /** Image digest, with `@namespace` behind it where there is one. */
  readonly key: string;
  readonly state: ModelState;
  /** True while observations are learned instead of judged. */
  readonly learning: boolean;
  /** The entry (`example.com`, `*.example.com`) that covers the name, or null. Wire form, folded, at `bytes[offset]`. */
  name(bytes: Uint8Array, offset: number): string | null;
  /** Whether the outbound Internet port was learned. `protocol` is an IP protocol number. */
  outboundPort(protocol: number, port: number): boolean;
  /** Whether the port was learned as one that the container listens on. `protocol` is an IP protocol number. */
  listeningPort(protocol: number, port: number): boolean;
}

/** Something a container did that its model may learn from. */
export type Observation =
  | {
      readonly kind: "name";
      readonly model: string;
      readonly container: string;
      readonly name: string;
      readonly time: number;
    }
  | {
      readonly kind: "outboundPort";
      readonly model: string;
      readonly container: string;
      readonly protocol: number;
      readonly port: number;
      readonly time: number;
    }
  | {
      readonly kind: "listeningPort";
      readonly model: string;
      readonly container: string;
      readonly protocol: number;
      readonly port: number;
      readonly time: number;
    }
  | {
      /** A connection that stays inside; learned and shown, and not judged by. */
      readonly kind: "internalDestination";
      readonly model: string;
      readonly container: string;
      readonly protocol: number;
      /** Presentation form: the /24 of the destination, or the /64. */
      readonly subnet: string;
      readonly port: number;
      readonly time: number;
    };

// ------------------------------------------------------------------------------------------------ findings

/**
 * A decision that must be told, with what it was about: what the data thread and detectors hand to the main thread.
 * Plain data (it crosses threads by structured clone). Becomes an audit record there.
 */
export interface Finding {
  /** Milliseconds since the epoch. */
  readonly time: number;
  readonly type: "dns" | "connection" | "listeningPort" | "portScan" | "rawSocket";
  readonly attackType: AttackType;
  readonly effect: Exclude<Effect, "disable">;
  /** Container id; null for a finding about the host (`rulesetChanged`). */
  readonly container: string | null;
  readonly rule: string | null;
  readonly message: string;
  readonly dns: {
    readonly name: string;
    readonly type: string;
    readonly answers: readonly string[];
    readonly rcode: string | null;
  } | null;
  readonly connection: {
    /** `tcp`, `udp`, `icmp`, `icmpv6`, `sctp`, or the protocol number as text. */
    readonly protocol: string;
    readonly source: string;
    readonly sourcePort: number;
    readonly destination: string;
    readonly port: number;
    readonly names: readonly string[];
  } | null;
  readonly reasons: readonly Reason[];
  readonly revision: number;
  /** How many events this stands for; 1 unless a counter was read. */
  readonly count: number;
}

export const CHANGES = [
  "newlyDenied",
  "newlyBlocked",
  "newlyAudited",
  "noLongerDenied",
  "noLongerBlocked",
  "noLongerAudited",
] as const;
/**
 * What another policy would change. `Denied`: whether it is dropped; `Blocked`: whether the container is stopped for what was
 * told or dropped anyway; `Audited`: whether it is told, and passes.
 */
export type Change = (typeof CHANGES)[number];
