/**
 * The part of the Docker Engine API that Tidesman uses, as plain facts: what is asked, and what of the answers counts.
 * Every decoder takes what came over the wire and throws TM_DOCKER where it is not what the API promises; fields that
 * only some versions send (Docker 20.10 to 29, Podman's compatible API) are optional here.
 */
import { formatAddress, parseAddress } from "../address.ts";
import { type ErrorCode, TidesmanError } from "../errors.ts";

/** An HTTP answer or transport failure of the engine; `status` is 0 when there was no answer. */
export class DockerError extends TidesmanError {
  readonly status: number;
  constructor(code: ErrorCode, message: string, status: number, options?: ErrorOptions) {
    super(code, message, options);
    this.status = status;
  }
}

/** Whether the engine said that there is no such container, network or image. */
export function isGone(error: unknown): boolean {
  return error instanceof DockerError && error.status === 404;
}

export interface RestartPolicy {
  /** `no`, `always`, `unless-stopped`, `on-failure`; empty means `no`. */
  readonly name: string;
  readonly maximumRetryCount: number;
}

/** One container in one network. */
export interface Endpoint {
  /** Empty while the container is not connected (before its first start). */
  readonly networkId: string;
  readonly networkName: string;
  /** Lower case, or empty. */
  readonly hardwareAddress: string;
  /** IPv4 and IPv6 as the engine assigned them, RFC 5952 form, without prefix length. */
  readonly addresses: readonly string[];
}

/** A row of `GET /containers/json`: read from a copy, so it answers even while the container is being started. */
export interface ContainerSummary {
  readonly id: string;
  readonly name: string;
  /** As the user wrote it. */
  readonly image: string;
  readonly imageId: string;
  readonly labels: Readonly<Record<string, string>>;
  /** `created`, `running`, `paused`, `restarting`, `removing`, `exited`, `dead` (Podman: also `configured`, `stopped`). */
  readonly state: string;
  readonly networkMode: string;
  readonly endpoints: readonly Endpoint[];
}

/** `GET /containers/{id}/json`. dockerd holds it back while it starts or stops the container. */
export interface ContainerDetail extends ContainerSummary {
  /** 0 when it does not run. */
  readonly pid: number;
  /** Milliseconds since the epoch; 0 when it does not run. */
  readonly startedAt: number;
  /** File that holds its network namespace; empty when it has none of its own. */
  readonly sandboxKey: string;
  readonly restartPolicy: RestartPolicy;
  readonly autoRemove: boolean;
}

export interface ImageDetail {
  readonly id: string;
  readonly tags: readonly string[];
  /** `repository@sha256:…` */
  readonly digests: readonly string[];
}

export interface NetworkDetail {
  readonly id: string;
  readonly name: string;
  readonly driver: string;
  readonly options: Readonly<Record<string, string>>;
  readonly subnets: readonly string[];
  readonly gateways: readonly string[];
  /** By container id; filled by `network`, not by `networks`. */
  readonly containers: ReadonlyMap<string, Endpoint>;
}

export interface EngineEvent {
  /** `container`, `network`, … */
  readonly type: string;
  /** `start`, `die`, `connect`, … */
  readonly action: string;
  /** Of the container or network. */
  readonly id: string;
  readonly attributes: Readonly<Record<string, string>>;
  /** `seconds.nanoseconds`, exact: what `since` takes. */
  readonly time: string;
}

/** What the registry and the blocker ask of the engine. Every call but `events` has a deadline. */
export interface DockerApi {
  /** All containers, running or not; or the one with `id`. */
  containers(id?: string): Promise<readonly ContainerSummary[]>;
  container(id: string, timeout?: number): Promise<ContainerDetail>;
  image(id: string): Promise<ImageDetail>;
  networks(): Promise<readonly NetworkDetail[]>;
  network(id: string): Promise<NetworkDetail>;
  /**
   * Events of containers and networks. Resolves once the engine has accepted the subscription, so that what is listed
   * afterwards misses nothing; the iteration ends when the engine closes it. `since`: replay what came after it.
   */
  events(since: string | null, signal: AbortSignal): Promise<AsyncIterable<EngineEvent>>;
  setRestartPolicy(id: string, policy: RestartPolicy, timeout?: number): Promise<void>;
  /** SIGKILL. Resolves when the engine says the container has ended. */
  kill(id: string, timeout?: number): Promise<void>;
  pause(id: string, timeout?: number): Promise<void>;
  unpause(id: string): Promise<void>;
  start(id: string): Promise<void>;
}

// ------------------------------------------------------------------------------------------------ decoding

type Json = Readonly<Record<string, unknown>>;

function unexpected(what: string): DockerError {
  return new DockerError("TM_DOCKER", `the docker engine sent an unexpected answer: ${what}`, 0);
}

function record(value: unknown, what: string): Json {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw unexpected(what);
  return value as Json;
}

function optionalRecord(value: unknown): Json {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Json) : {};
}

function rows(value: unknown, what: string): readonly unknown[] {
  if (!Array.isArray(value)) throw unexpected(what);
  return value;
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function requiredText(value: unknown, what: string): string {
  if (typeof value !== "string" || value === "") throw unexpected(what);
  return value;
}

function integer(value: unknown): number {
  return typeof value === "number" && Number.isSafeInteger(value) ? value : 0;
}

function textMap(value: unknown): Record<string, string> {
  const map: Record<string, string> = {};
  for (const [key, item] of Object.entries(optionalRecord(value)))
    if (typeof item === "string") map[key] = item;
  return map;
}

function texts(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((item): item is string => typeof item === "string") : [];
}

/** An address with or without prefix length, in RFC 5952 form; null when it is none. */
export function canonicalAddress(value: string): string | null {
  const slash = value.indexOf("/");
  const bytes = parseAddress(slash < 0 ? value : value.slice(0, slash));
  return bytes === null ? null : formatAddress(bytes);
}

function addresses(...values: unknown[]): string[] {
  const found: string[] = [];
  for (const value of values) {
    const address = canonicalAddress(text(value));
    if (address !== null) found.push(address);
  }
  return found;
}

function endpoints(settings: unknown): Endpoint[] {
  return Object.entries(optionalRecord(optionalRecord(settings).Networks)).map(([networkName, value]) => {
    const endpoint = optionalRecord(value);
    return {
      networkId: text(endpoint.NetworkID),
      networkName,
      hardwareAddress: text(endpoint.MacAddress).toLowerCase(),
      addresses: addresses(endpoint.IPAddress, endpoint.GlobalIPv6Address),
    };
  });
}

/** The container's own name among the names that links gave it (`/web/alias`). */
function ownName(names: readonly string[]): string {
  const own = names.find((name) => name.lastIndexOf("/") <= 0) ?? names[0] ?? "";
  return own.replace(/^\//, "");
}

export function decodeContainers(value: unknown): ContainerSummary[] {
  return rows(value, "a list of containers that is no list").map((item) => {
    const row = record(item, "a container that is no object");
    return {
      id: requiredText(row.Id, "a container without an id"),
      name: ownName(texts(row.Names)),
      image: text(row.Image),
      imageId: text(row.ImageID),
      labels: textMap(row.Labels),
      state: text(row.State).toLowerCase(),
      networkMode: text(optionalRecord(row.HostConfig).NetworkMode),
      endpoints: endpoints(row.NetworkSettings),
    };
  });
}

export function decodeContainer(value: unknown): ContainerDetail {
  const root = record(value, "a container that is no object");
  const state = record(root.State, "a container without a state");
  const config = optionalRecord(root.Config);
  const host = optionalRecord(root.HostConfig);
  const restart = optionalRecord(host.RestartPolicy);
  const running = state.Running === true && state.Restarting !== true;
  const startedAt = Date.parse(text(state.StartedAt));
  let status = text(state.Status).toLowerCase();
  if (running) status = state.Paused === true ? "paused" : "running";
  return {
    id: requiredText(root.Id, "a container without an id"),
    name: text(root.Name).replace(/^\//, ""),
    image: text(config.Image) || text(root.ImageName),
    imageId: text(root.Image),
    labels: textMap(config.Labels),
    state: status,
    networkMode: text(host.NetworkMode),
    endpoints: endpoints(root.NetworkSettings),
    pid: running ? integer(state.Pid) : 0,
    startedAt: running && startedAt > 0 ? startedAt : 0,
    sandboxKey: running ? text(optionalRecord(root.NetworkSettings).SandboxKey) : "",
    restartPolicy: { name: text(restart.Name), maximumRetryCount: integer(restart.MaximumRetryCount) },
    autoRemove: host.AutoRemove === true,
  };
}

export function decodeImage(value: unknown): ImageDetail {
  const root = record(value, "an image that is no object");
  return { id: text(root.Id), tags: texts(root.RepoTags), digests: texts(root.RepoDigests) };
}

export function decodeNetwork(value: unknown): NetworkDetail {
  const root = record(value, "a network that is no object");
  const id = requiredText(root.Id, "a network without an id");
  const name = text(root.Name);
  const pools = optionalRecord(root.IPAM).Config;
  const configs = Array.isArray(pools) ? pools.map(optionalRecord) : [];
  const containers = new Map<string, Endpoint>();
  for (const [container, item] of Object.entries(optionalRecord(root.Containers))) {
    const endpoint = optionalRecord(item);
    containers.set(container, {
      networkId: id,
      networkName: name,
      hardwareAddress: text(endpoint.MacAddress).toLowerCase(),
      addresses: addresses(endpoint.IPv4Address, endpoint.IPv6Address),
    });
  }
  return {
    id,
    name,
    driver: text(root.Driver),
    options: textMap(root.Options),
    subnets: configs.map((config) => text(config.Subnet)).filter((subnet) => subnet !== ""),
    gateways: configs.flatMap((config) => addresses(config.Gateway)),
    containers,
  };
}

export function decodeNetworks(value: unknown): NetworkDetail[] {
  return rows(value, "a list of networks that is no list").map(decodeNetwork);
}

/** One line of the event stream; a record separator (RFC 7464) before it is accepted. */
export function decodeEvent(line: string): EngineEvent {
  let value: unknown;
  try {
    value = JSON.parse(line.charCodeAt(0) === 0x1e ? line.slice(1) : line);
  } catch (cause) {
    throw new DockerError(
      "TM_DOCKER",
      `the docker engine sent an event that is no JSON: \`${line.slice(0, 80)}\``,
      0,
      { cause },
    );
  }
  const root = record(value, "an event that is no object");
  const actor = optionalRecord(root.Actor);
  // Nanoseconds do not fit a JavaScript number, so they are taken from the text.
  const nano = /"timeNano":\s*(\d{10,})/.exec(line)?.[1];
  return {
    type: text(root.Type) || "container",
    action: text(root.Action) || text(root.status),
    id: text(actor.ID) || text(root.id),
    attributes: textMap(actor.Attributes),
    time: nano === undefined ? String(integer(root.time)) : `${nano.slice(0, -9)}.${nano.slice(-9)}`,
  };
}
