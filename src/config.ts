/** Appliance configuration (tidesman.yaml): shape and defaults. */
export interface Config {
  /** Name of this host in audits and scopes; default: the system's host name. */
  readonly host: string;
  readonly failMode: "open" | "closed";
  readonly dns: DnsConfig;
  readonly network: NetworkConfig;
  readonly docker: DockerConfig;
  readonly block: { readonly action: "kill" | "pause" };
  readonly models: { /** Cumulative container run time, milliseconds. */ readonly learningTime: number };
  readonly audits: AuditsConfig;
  readonly console: { readonly address: string; readonly port: number };
  readonly control: {
    /** Group that may use the control socket; used when it exists. */ readonly group: string;
  };
  readonly log: { readonly level: "debug" | "info" | "warn" | "error" };
}

export interface DnsConfig {
  /** Where redirected lookups arrive, UDP and TCP. */
  readonly port: number;
  /** Redirect the containers' port-53 traffic to `port`; off: only containers that use us as `--dns` are seen. */
  readonly redirect: boolean;
  /** `ADDRESS`, `ADDRESS:PORT`, `[ADDRESS]:PORT`; empty: those of `resolvConf`. */
  readonly upstreams: readonly string[];
  readonly resolvConf: string;
  readonly preventResponse: "drop" | "nxdomain" | "refused" | "sinkhole";
  readonly sinkhole: { readonly ipv4: string; readonly ipv6: string };
  /** One deadline per lookup, and the wait before the next upstream is tried; milliseconds. */
  readonly deadline: number;
  readonly retryAfter: number;
  readonly cache: {
    /** Bytes of memory for answers. */
    readonly size: number;
    /** Bounds on what is kept, seconds. */
    readonly minTTL: number;
    readonly maxTTL: number;
    readonly maxNegativeTTL: number;
    /** Seconds that an expired answer may still be served while no upstream answers (RFC 8767); 0: never. */
    readonly serveStale: number;
  };
  /** Largest UDP answer, and the EDNS size told to upstreams. */
  readonly udpSize: number;
  /** Lookups per second and container before more are dropped and counted. */
  readonly rate: number;
  readonly maxInFlight: number;
  readonly tcp: {
    readonly connectionsPerContainer: number /** milliseconds */;
    readonly idleTimeout: number;
  };
}

export interface NetworkConfig {
  readonly queue: number;
  readonly queueLength: number;
  /** Two adjacent bits of the mark: the lower says allowed, the upper denied. */
  readonly markMask: number;
  /** iptables interface patterns of container bridges, beside those the runtime names. */
  readonly interfaces: readonly string[];
  /** New connections per second and container before the kernel drops more; and the burst allowed. */
  readonly connectionRate: number;
  readonly connectionBurst: number;
  /** How long and how many packets of a container not yet known wait; milliseconds. */
  readonly holdTime: number;
  readonly holdLimit: number;
  /** More prefixes that do not count as Internet. */
  readonly internal: readonly string[];
}

export interface DockerConfig {
  readonly socket: string;
}

export interface AuditsConfig {
  /** Alike findings within this many milliseconds raise `count`. */
  readonly window: number;
  /** Findings that may wait for the disk. */
  readonly queue: number;
  readonly retention: { /** milliseconds */ readonly age: number /** bytes */; readonly size: number };
}

/** Where things are; from the command line or the built-in places. */
export interface Places {
  readonly configFile: string;
  readonly policyFile: string;
  readonly feedsFile: string;
  readonly stateDirectory: string;
  readonly runtimeDirectory: string;
}
