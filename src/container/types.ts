/** What the registry knows of a container, and hands to the data thread. Plain data (it crosses threads). */
import type { ContainerFacts } from "../policy/types.ts";

export interface ContainerNetwork {
  /** Runtime's network id and name. */
  readonly id: string;
  readonly name: string;
  /** Host bridge that the container is attached to (`docker0`); empty when there is none (macvlan, host). */
  readonly bridge: string;
  /** Host-side veth; 0 and empty until it was found. */
  readonly vethIndex: number;
  readonly veth: string;
  /** Without prefix length, presentation form; link-local included once the namespace was read. */
  readonly addresses: readonly string[];
}

export type ContainerState = "created" | "running" | "paused" | "exited" | "blocked";

export interface Container extends ContainerFacts {
  readonly state: ContainerState;
  /** Host pid of its first process; 0 when it does not run. */
  readonly pid: number;
  /** Milliseconds since the epoch; 0 when it does not run. Together with the id it names one life of it. */
  readonly startedAt: number;
  /** Path of its network namespace as seen by us; empty when unknown. */
  readonly networkNamespace: string;
  readonly networks: readonly ContainerNetwork[];
  /** `--network host`, or shares the namespace of another container (`container:ID`). */
  readonly networkMode: string;
}

/** A network whose bridge is guarded. */
export interface GuardedNetwork {
  readonly id: string;
  readonly name: string;
  readonly bridge: string;
  /** Prefixes, presentation form. */
  readonly subnets: readonly string[];
}

/**
 * What the registry tells its listener, to be applied in the order `gone`, `remove`, `upsert`: a container that ended
 * and began a new life at once stands in both, and an address that moved in `gone` and in `upsert`.
 */
export interface RegistryChange {
  /** Containers that run, or are being started and have an address already (`state` is `created` then). */
  readonly upsert: readonly Container[];
  /** Ids of those that do so no longer: stopped, removed, or their last address was taken before they ran. */
  readonly remove: readonly string[];
  /** Addresses that went away from their container; their conntrack entries must not outlive them. */
  readonly gone: readonly string[];
  /** Set when networks changed: all of them. */
  readonly networks?: readonly GuardedNetwork[];
}

/** Whether the registry follows the runtime. */
export interface RegistryState {
  /** Connected to the engine, and everything it listed is known. */
  readonly connected: boolean;
  /** Why not; null while connected, before the first attempt, and after `stop`. */
  readonly error: string | null;
}
