/** What the checks ask of the container engine, out of answers that may be anything. */
import type { Host } from "./patient.ts";

export interface EngineVersion {
  readonly version: string;
  readonly api: string;
}

/** A running container and what it may do to its host. */
export interface EngineContainer {
  readonly name: string;
  readonly networkMode: string;
  /** Why it could undo what is done on the host; empty where it could not. */
  readonly powers: readonly string[];
  /** Whether it may change addresses and routes of its own network. */
  readonly administersNetwork: boolean;
}

/** Containers that are looked at, at most; a doctor should not wait for thousands. */
const MOST = 200;
/** Capabilities that lead out of a container. */
const ESCAPES: ReadonlySet<string> = new Set(["ALL", "SYS_ADMIN", "SYS_MODULE", "SYS_PTRACE"]);
const SOCKETS = /\/(?:docker|containerd|podman)\.sock$/;

/** The version, or the system's error code when no engine answers. */
export async function engineVersion(host: Host, socket: string): Promise<EngineVersion | string> {
  const answer = await host.engine(socket, "/version");
  if ("error" in answer) return answer.error;
  const version = text(at(answer.value, "Version"));
  const api = text(at(answer.value, "ApiVersion"));
  return version === "" || api === "" ? "what answers there is no container engine" : { version, api };
}

/** A rootless engine keeps its bridges in a namespace of its own, where no rule of the host sees them. */
export async function isRootless(host: Host, socket: string): Promise<boolean> {
  const answer = await host.engine(socket, "/info");
  return "value" in answer && list(at(answer.value, "SecurityOptions")).includes("name=rootless");
}

/** Those that run; null when the engine does not tell. One that ends meanwhile is left out. */
export async function engineContainers(
  host: Host,
  socket: string,
): Promise<readonly EngineContainer[] | null> {
  const answer = await host.engine(socket, "/containers/json");
  if ("error" in answer || !Array.isArray(answer.value)) return null;
  const ids = answer.value.slice(0, MOST).map((one: unknown) => text(at(one, "Id")));
  const details = await Promise.all(
    ids.map((id) => host.engine(socket, `/containers/${encodeURIComponent(id)}/json`)),
  );
  return details.flatMap((detail) => ("value" in detail ? [containerOf(detail.value)] : []));
}

function containerOf(value: unknown): EngineContainer {
  const config = at(value, "HostConfig");
  const added = list(at(config, "CapAdd")).map((name) => name.toUpperCase().replace(/^CAP_/, ""));
  const networkMode = text(at(config, "NetworkMode"));
  const mounts = at(value, "Mounts");
  const sources = Array.isArray(mounts) ? mounts.map((mount: unknown) => text(at(mount, "Source"))) : [];
  const privileged = at(config, "Privileged") === true;
  const administersNetwork = privileged || added.some((name) => name === "NET_ADMIN" || name === "ALL");
  return {
    name: text(at(value, "Name")).replace(/^\//, ""),
    networkMode,
    administersNetwork,
    powers: [
      ...(privileged ? ["privileged"] : added.filter((name) => ESCAPES.has(name))),
      ...(networkMode === "host" && administersNetwork && !privileged
        ? ["NET_ADMIN in the host's network"]
        : []),
      ...sources.filter((source) => SOCKETS.test(source)),
    ],
  };
}

function at(value: unknown, key: string): unknown {
  return typeof value === "object" && value !== null && Object.hasOwn(value, key)
    ? Reflect.get(value, key)
    : undefined;
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function list(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((one) => typeof one === "string") : [];
}
