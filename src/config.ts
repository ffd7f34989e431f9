/**
 * Appliance configuration (tidesman.yaml): keys, defaults, reading, freezing. The types are inferred from the schema, and
 * docs/configuration.md is generated from it, so that neither can say something else.
 */
import { z } from "zod";
import {
  absolutePath,
  address,
  blockAction,
  bridge,
  duration,
  group,
  hostName,
  internalPrefix,
  markMask,
  size,
  socketPath,
  ttl,
  upstream,
  whole,
} from "./config-values.ts";
import { detectorsSchema } from "./detector-config.ts";
import { type Path, SourceDocument } from "./document.ts";
import { schemaAt } from "./issues.ts";

type DeepReadonly<T> = T extends (infer Item)[]
  ? readonly DeepReadonly<Item>[]
  : T extends object
    ? { readonly [Key in keyof T]: DeepReadonly<T[Key]> }
    : T;

/** Checked, complete and frozen. Durations are milliseconds, sizes bytes. */
export type Config = DeepReadonly<z.output<ReturnType<typeof configSchema>>>;
export type DnsConfig = Config["dns"];
export type NetworkConfig = Config["network"];
export type DockerConfig = Config["docker"];
export type AuditsConfig = Config["audits"];

/** Where things are; from the command line or the built-in places. */
export interface Places {
  readonly configFile: string;
  readonly policyFile: string;
  readonly feedsFile: string;
  readonly stateDirectory: string;
  readonly runtimeDirectory: string;
}

// ------------------------------------------------------------------------------------------------ keys

/** `hostname`: default of `host`. */
export function configSchema(hostname: string) {
  const dns = {
    port: whole(1, 65535).prefault(5303).describe("Where redirected lookups arrive, UDP and TCP."),
    redirect: z
      .boolean()
      .prefault(true)
      .describe("Redirect the containers' port-53 traffic to `port`. Off: only lookups sent to us are seen."),
    upstreams: z
      .array(upstream)
      .prefault([])
      .describe("Servers that are asked. Empty: those of `resolvConf`."),
    resolvConf: absolutePath.prefault("/etc/resolv.conf").describe("Where the host's own servers are named."),
    preventResponse: z
      .enum(["drop", "nxdomain", "refused", "sinkhole"])
      .prefault("drop")
      .describe("How a prevented lookup is answered; `drop`: not at all."),
    sinkhole: z
      .strictObject({
        ipv4: address(4).prefault("0.0.0.0").describe("Answer to A lookups under `sinkhole`."),
        ipv6: address(6).prefault("::").describe("Answer to AAAA lookups under `sinkhole`."),
      })
      .prefault({}),
    deadline: duration("100ms", "60s")
      .prefault("4s")
      .describe("Time for one lookup, all upstreams together."),
    retryAfter: duration("10ms", "30s").prefault("700ms").describe("Wait before the next upstream is asked."),
    cache: z
      .strictObject({
        size: size("1MiB", "16GiB").prefault("64MiB").describe("Memory for answers."),
        minTTL: ttl.prefault(0).describe("Shortest time that an answer is kept."),
        maxTTL: ttl.prefault(86400).describe("Longest time that an answer is kept."),
        maxNegativeTTL: ttl.prefault(900).describe("Longest time that a failed lookup is kept (RFC 2308)."),
        serveStale: ttl
          .prefault(0)
          .describe("How long an expired answer serves while no upstream answers (RFC 8767); 0: never."),
      })
      .prefault({}),
    udpSize: whole(512, 4096)
      .prefault(1232)
      .describe("Largest UDP answer, and the EDNS size told to upstreams."),
    rate: whole(1, 1_000_000)
      .prefault(5000)
      .describe("Lookups per second and container; more are dropped and counted."),
    maxInFlight: whole(1, 1_000_000).prefault(8192).describe("Lookups that may wait for upstreams at once."),
    tcp: z
      .strictObject({
        connectionsPerContainer: whole(1, 10_000)
          .prefault(32)
          .describe("Open TCP connections per container."),
        idleTimeout: duration("1s", "10m")
          .prefault("10s")
          .describe("An idle TCP connection is closed after this."),
      })
      .prefault({}),
  };
  const network = {
    queue: whole(0, 65535).prefault(5303).describe("NFQUEUE number for new connections."),
    queueLength: whole(1, 1_000_000)
      .prefault(8192)
      .describe("Packets that may wait in the kernel for a decision."),
    markMask: markMask
      .prefault(0x30000)
      .describe("Two bits of the mark: the lower says allowed, the upper denied. Others are left alone."),
    interfaces: z
      .array(bridge)
      .prefault(["docker0", "br-+"])
      .describe("Bridges of containers, beside those that the runtime names."),
    connectionRate: whole(1, 1_000_000)
      .prefault(500)
      .describe("New connections per second and container; the kernel drops more."),
    connectionBurst: whole(1, 1_000_000)
      .prefault(1000)
      .describe("New connections at once before that rate holds."),
    holdTime: duration("0ms", "10s")
      .prefault("500ms")
      .describe("How long a packet of a container not yet known waits."),
    holdLimit: whole(0, 65536).prefault(1024).describe("How many such packets may wait."),
    internal: z.array(internalPrefix).prefault([]).describe("More prefixes that do not count as Internet."),
  };
  return z.strictObject({
    host: hostName.default(hostname).describe("Name of this host in audits and in the `hosts` of scopes."),
    failMode: z
      .enum(["open", "closed"])
      .prefault("open")
      .describe(
        "New connections while the daemon is away or its queue full: `open` passes, `closed` drops them.",
      ),
    dns: z.strictObject(dns).prefault({}),
    network: z.strictObject(network).prefault({}),
    docker: z
      .strictObject({
        socket: socketPath.prefault("/var/run/docker.sock").describe("Socket of the Docker Engine API."),
      })
      .prefault({}),
    block: z
      .strictObject({
        action: blockAction
          .prefault("stop")
          .describe("What `block` does to a container; `isolate` leaves it running without a network."),
        breaker: z
          .strictObject({
            containers: whole(1, 1_000_000)
              .prefault(10)
              .describe("Rules stop at most so many containers `within` this time; then they only prevent."),
            within: duration("1s", "7d").prefault("10m").describe("The time that `containers` is about."),
            share: whole(1, 100)
              .prefault(50)
              .describe("Percent of an image's containers that rules may keep stopped; one always."),
          })
          .prefault({}),
      })
      .prefault({}),
    models: z
      .strictObject({
        learningTime: duration("1s", "90d")
          .prefault("1h")
          .describe("Run time of an image's containers, summed, until its model is active."),
        trialTime: duration("0s", "90d")
          .prefault("24h")
          .describe("How long a deviation sends a newly active model back to learning; 0s: not at all."),
        auditUpdates: z
          .boolean()
          .prefault(true)
          .describe("Tell what an image does for the first time after an update, while its model learns it."),
      })
      .prefault({}),
    audits: z
      .strictObject({
        window: duration("0ms", "1d")
          .prefault("60s")
          .describe("Alike findings of a container within this time become one audit."),
        fold: z
          .strictObject({
            after: whole(0, 100)
              .prefault(5)
              .describe("Alike audits of one image that stay single; more are folded into one. 0: never."),
            within: duration("1m", "1d")
              .prefault("15m")
              .describe("The time in which they are counted; after so long a quiet they are single again."),
            summaries: duration("1m", "1d")
              .prefault("10m")
              .describe("How long one audit takes all that is alike, until another follows."),
          })
          .prefault({}),
        queue: whole(1, 1_000_000).prefault(16384).describe("Findings that may wait for the disk."),
        retention: z
          .strictObject({
            age: duration("1m", "3650d").prefault("30d").describe("Older audits are deleted."),
            size: size("1MiB", "1024GiB")
              .prefault("512MiB")
              .describe("The oldest are deleted above this size."),
          })
          .prefault({}),
      })
      .prefault({}),
    incidents: z
      .strictObject({
        closeAfter: duration("0s", "3650d")
          .prefault("7d")
          .describe("An open incident without new evidence for so long is closed by itself; 0s: never."),
        closeGoneAfter: duration("0s", "3650d")
          .prefault("3d")
          .describe("So is one whose container was removed so long ago; 0s: never."),
        limit: whole(1, 10_000)
          .prefault(500)
          .describe("Incidents that may be open; beyond it the one that has rested longest is closed."),
        retention: z
          .strictObject({
            age: duration("1h", "3650d").prefault("90d").describe("Closed incidents are deleted after this."),
          })
          .prefault({}),
      })
      .prefault({}),
    detectors: detectorsSchema,
    console: z
      .strictObject({
        address: address(null).prefault("127.0.0.1").describe("Where the console and the metrics listen."),
        port: whole(0, 65535).prefault(8053).describe("TCP port of the console and the metrics; 0: none."),
      })
      .prefault({}),
    control: z
      .strictObject({
        group: group.prefault("tidesman").describe("Group that may use the control socket, where it exists."),
      })
      .prefault({}),
    log: z
      .strictObject({
        level: z.enum(["debug", "info", "warn", "error"]).prefault("info").describe("What is logged."),
      })
      .prefault({}),
  });
}

// ------------------------------------------------------------------------------------------------ reading

/**
 * Reads tidesman.yaml; `text` null: there is none, and the defaults hold. `file` is only named in messages, `hostname` is
 * the default of `host`. Throws TM_CONFIG with a line for every problem, as parsePolicy does.
 */
export function loadConfig(text: string | null, file: string, hostname: string): Config {
  // A file whose every line is a comment says the same as none.
  const document = new SourceDocument(text ?? "{}", file);
  const schema = configSchema(hostname);
  const config = document.value === null ? schema.parse({}) : document.check(schema);
  checkPairs(document, schema);
  document.refuse("TM_CONFIG");
  if (config === null) throw new Error("a document that does not fit its schema has problems");
  return deepFreeze(config);
}

/** What two keys must not say together. Each is read by itself, so that this is told beside other problems. */
function checkPairs(document: SourceDocument, schema: z.ZodType): void {
  const read = (path: Path): number => {
    const field = schemaAt(schema, path);
    const result = field === null ? null : z.safeParse(field, document.at(path));
    return typeof result?.data === "number" ? result.data : Number.NaN;
  };
  const retryAfter = ["dns", "retryAfter"];
  if (read(retryAfter) >= read(["dns", "deadline"])) {
    document.problem(retryAfter, "is not below `dns.deadline`, so that no second upstream is ever asked");
  }
  const minTTL = ["dns", "cache", "minTTL"];
  if (read(minTTL) > read(["dns", "cache", "maxTTL"])) {
    document.problem(minTTL, "is above `dns.cache.maxTTL`; at most that is allowed");
  }
  if (read(["console", "port"]) === read(["dns", "port"])) {
    document.problem(["console", "port"], "is also `dns.port`, where TCP lookups arrive; each needs its own");
  }
}

function deepFreeze<T>(value: T): T {
  if (typeof value !== "object" || value === null || Object.isFrozen(value)) return value;
  for (const inner of Object.values(value)) deepFreeze(inner);
  return Object.freeze(value);
}
