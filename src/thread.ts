/**
 * What the main thread and the data thread say to each other: plain data only. Down go snapshots (one message, one
 * reference swap, a new revision); up come findings and observations in batches, bounded, with drops counted.
 */
import type { Config } from "./config.ts";
import type { Container } from "./container/types.ts";
import type { ResolvedName } from "./dns/provenance.ts";
import type { DnsStats } from "./dns/server.ts";
import type { UpstreamAddress } from "./dns/upstream-server.ts";
import type { CompiledFeeds } from "./feed/types.ts";
import type { ModelSnapshot } from "./model/model.ts";
import type { PacketStats } from "./packet/queue.ts";
import type { Exemption } from "./policy/exemption.ts";
import type { PolicyFile } from "./policy/schema.ts";
import type { Finding, Observation } from "./policy/types.ts";

/** A container bridge of the host: where lookups are served and connections judged. */
export interface GuardedInterface {
  readonly index: number;
  readonly name: string;
  /** Presentation form, without prefix lengths. */
  readonly addresses: readonly string[];
}

/** What surrounds the containers: which interfaces are guarded, and what does not count as Internet. */
export interface Surroundings {
  readonly interfaces: readonly GuardedInterface[];
  /** Prefixes of the host's own addresses and of all container networks. */
  readonly internal: readonly string[];
}

/** Everything a decision rests on. A new one is a new revision. */
export interface Snapshot {
  readonly revision: number;
  readonly policy: PolicyFile;
  readonly feeds: CompiledFeeds;
}

/** Handed to the data thread when it starts. */
export interface DataThreadStart {
  readonly config: Config;
  readonly upstreams: readonly UpstreamAddress[];
  readonly snapshot: Snapshot;
  readonly models: readonly ModelSnapshot[];
  readonly surroundings: Surroundings;
  /** Descriptors that systemd holds for us. */
  readonly sockets: { readonly udp: readonly number[]; readonly tcp: readonly number[] };
}

export type ToDataThread =
  | { readonly kind: "snapshot"; readonly snapshot: Snapshot }
  /** Models that are new or changed, and keys of those that are no more. */
  | { readonly kind: "models"; readonly models: readonly ModelSnapshot[]; readonly remove: readonly string[] }
  | { readonly kind: "surroundings"; readonly surroundings: Surroundings }
  | { readonly kind: "containers"; readonly upsert: readonly Container[]; readonly remove: readonly string[] }
  /** All that the container has now. */
  | {
      readonly kind: "exemptions";
      readonly container: string;
      readonly exemptions: readonly Exemption[];
    }
  | { readonly kind: "cut"; readonly container: string; readonly cut: boolean }
  /** It is cut off no more, whatever else is found of it: until it is cut again. */
  | { readonly kind: "spare"; readonly container: string }
  /** The sets exist: the heartbeat that keeps traffic flowing through us may begin. */
  | { readonly kind: "armed" }
  /** The sets are about to go. */
  | { readonly kind: "disarmed" }
  /** That many events were taken over; room for more. */
  | { readonly kind: "taken"; readonly events: number }
  | { readonly kind: "ask"; readonly id: number; readonly question: Question }
  | { readonly kind: "stop" };

export type Question =
  | { readonly kind: "stats" }
  /** The names that a container resolved an address from. */
  | { readonly kind: "names"; readonly container: string; readonly address: string }
  /** What a container resolved lately. */
  | { readonly kind: "resolved"; readonly container: string };

export type Answer =
  | { readonly kind: "stats"; readonly stats: DataThreadStats }
  | { readonly kind: "names"; readonly names: readonly string[] }
  | { readonly kind: "resolved"; readonly names: readonly ResolvedName[] };

export interface DataThreadStats {
  readonly revision: number;
  readonly containers: number;
  readonly dns: DnsStats;
  readonly packets: PacketStats;
  /** Findings and observations that were dropped because the main thread was behind. */
  readonly dropped: { readonly findings: number; readonly observations: number };
}

export type FromDataThread =
  | { readonly kind: "ready" }
  | { readonly kind: "failed"; readonly code: string; readonly message: string }
  | { readonly kind: "installed"; readonly revision: number }
  | {
      readonly kind: "events";
      readonly findings: readonly Finding[];
      readonly observations: readonly Observation[];
    }
  /** A container was cut off by the decision in `finding`; now it has to be stopped. Sent at once, not batched. */
  | { readonly kind: "block"; readonly container: string; readonly finding: Finding }
  /** Throws while deciding took the fail mode: the latest, and how many there were since the last such message. */
  | { readonly kind: "failure"; readonly message: string; readonly count: number }
  /** The heartbeat was late: in open mode traffic passed by itself meanwhile, unseen. */
  | { readonly kind: "lapsed" }
  /** Packets or lookups of an unknown container wait. */
  | { readonly kind: "unknown"; readonly vethIndex: number; readonly source: string }
  | { readonly kind: "answer"; readonly id: number; readonly answer: Answer }
  | { readonly kind: "stopped" };
