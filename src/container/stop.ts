/**
 * Ends a container's traffic from inside: its connections are reset, and it is isolated, paused or killed. What cannot be
 * isolated is paused, and what cannot be paused is killed. SIGKILL, never the engine's `stop`: a first process that ignores
 * SIGTERM would go on for ten seconds. An engine that fails or lets us wait is passed over with SIGKILL to the host pid.
 */
import type { Clock } from "../clock.ts";
import type { Config } from "../config.ts";
import type { Native } from "../native/types.ts";
import { type ContainerDetail, type DockerApi, DockerError, isGone } from "./engine.ts";
import { isIsolated, isolateVeths, isolationGap } from "./isolate.ts";
import type { HostProcesses } from "./processes.ts";
import type { Container } from "./types.ts";

export interface StopOptions {
  readonly docker: Pick<DockerApi, "kill" | "pause">;
  readonly native: Pick<Native, "resetConnections" | "links" | "setLink">;
  readonly processes: HostProcesses;
  readonly clock: Clock;
  readonly container: Container;
  /** What the engine says of it now; null when it did not answer. */
  readonly detail: ContainerDetail | null;
  readonly action: Config["block"]["action"];
  /** Whether what cannot be isolated just now is left for another try; it is cut off by its addresses and its veths' packets. */
  readonly patient: boolean;
  /** Monotonic milliseconds: until then the engine may try; then the process is killed without it. */
  readonly deadline: number;
  /** Told of each step that failed. */
  readonly failed: (step: string, error: unknown) => void;
}

export interface Stopped {
  /** `stopped`: it did not run any more; `gone`: it was removed; `failed`: it may still run, and is tried again. */
  readonly result: "killed" | "paused" | "isolated" | "stopped" | "gone" | "failed";
  /** Whether the engine did not do it, and the host's SIGKILL did. */
  readonly bySignal: boolean;
  readonly connectionsReset: number;
}

/** States in which there is nothing to stop. */
const ENDED: ReadonlySet<string> = new Set(["created", "configured", "exited", "dead", "stopped"]);
/** The engine gets a moment even when the deadline has passed, milliseconds. */
const LEAST_TIME = 50;

/** Does not reject. */
export async function stopContainer(options: StopOptions): Promise<Stopped> {
  const { docker, processes, clock, container, detail, action, failed } = options;
  const { id } = container;
  if (detail !== null && ENDED.has(detail.state)) return outcome("stopped");
  if (detail?.state === "paused" && action !== "stop" && !isIsolable(options)) return outcome("paused");
  const pid = detail?.pid || container.pid;
  const startedAt = detail?.startedAt || container.startedAt;
  const isIts = (): boolean => pid > 1 && processes.belongs(pid, id, startedAt);
  if (action === "isolate") {
    const isolated = isolate(options, isIts);
    if (isolated !== null) return isolated;
  }
  const reset = resetConnections(options, isIts);
  const timeLeft = (): number => Math.max(LEAST_TIME, options.deadline - clock.monotonic());
  if (action !== "stop") {
    try {
      await docker.pause(id, timeLeft() / 2);
      return outcome("paused", reset);
    } catch (error) {
      if (isGone(error)) return outcome("gone", reset);
      failed("pause", error);
    }
  }
  try {
    await docker.kill(id, timeLeft());
    return outcome("killed", reset);
  } catch (error) {
    if (isGone(error)) return outcome("gone", reset);
    // 409: it is not running. Podman and old engines say 500 for the same; then the process decides.
    const conflict = error instanceof DockerError && (error.status === 409 || error.status === 500);
    if (conflict && !isIts()) return outcome("stopped", reset);
    failed("kill", error);
  }
  try {
    if (isIts()) {
      processes.kill(pid);
      return outcome("killed", reset, true);
    }
    if (pid > 1 && !processes.runs(pid)) return outcome("stopped", reset);
  } catch (error) {
    failed("SIGKILL", error);
  }
  return outcome("failed", reset);
}

function isIsolable({ action, container }: StopOptions): boolean {
  return action === "isolate" && isolationGap(container) === null;
}

/** Null when it cannot be done. */
function isolate(options: StopOptions, isIts: () => boolean): Stopped | null {
  const { native, container, failed } = options;
  const gap = isolationGap(container);
  if (gap !== null) {
    failed("isolate", gap);
    return null;
  }
  try {
    // Once it is cut off its connections are its own: those inside it are part of what is to be looked into.
    if (container.networks.length > 0 && isIsolated(native, container)) return outcome("isolated");
    const reset = resetConnections(options, isIts);
    if (isolateVeths(native, container)) return outcome("isolated", reset);
    failed("isolate", "not all of its veths are known");
    return options.patient ? outcome("failed", reset) : null;
  } catch (error) {
    failed("isolate", error);
    return null;
  }
}

/** Returns how many. */
function resetConnections({ native, container, failed }: StopOptions, isIts: () => boolean): number {
  // A container in the host's namespace shares the host's connections: those stay.
  const namespace = container.networkMode === "host" ? "" : container.networkNamespace;
  // A path through a process is only as good as the process.
  if (namespace === "" || (namespace.startsWith("/proc/") && !isIts())) return 0;
  try {
    return native.resetConnections(namespace);
  } catch (error) {
    failed("reset of its connections", error);
    return 0;
  }
}

function outcome(result: Stopped["result"], connectionsReset = 0, bySignal = false): Stopped {
  return { result, bySignal, connectionsReset };
}
