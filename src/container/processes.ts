/** Processes of the host, as far as stopping a container needs them. */
import { readFileSync } from "node:fs";
import { systemCode } from "../errors.ts";

export interface HostProcesses {
  /**
   * Whether the process is still one of that life of the container, and no later process under the same number.
   * `startedAt`: milliseconds since the epoch; 0 when unknown.
   */
  belongs(pid: number, containerId: string, startedAt: number): boolean;
  /** Whether it still runs; a zombie does not. */
  runs(pid: number): boolean;
  /** SIGKILL; no error when it has ended. */
  kill(pid: number): void;
}

/** USER_HZ: what /proc counts in, whatever the kernel's own tick (proc_pid_stat(5)). */
const TICKS_PER_SECOND = 100;
/** The engine notes the start a little after the process began. */
const START_TOLERANCE = 2_000;

export const hostProcesses: HostProcesses = {
  belongs(pid, containerId, startedAt) {
    // Every runtime names the control group after the container (`/docker/ID`, `docker-ID.scope`, `libpod-ID.scope`).
    if (read(`/proc/${pid}/cgroup`).includes(containerId)) return true;
    const began = startOf(pid);
    return startedAt !== 0 && began !== 0 && Math.abs(began - startedAt) < START_TOLERANCE;
  },
  runs(pid) {
    const state = statOf(pid)[0];
    return state !== undefined && state !== "Z" && state !== "X";
  },
  kill(pid) {
    try {
      process.kill(pid, "SIGKILL");
    } catch (error) {
      if (systemCode(error) !== "ESRCH") throw error;
    }
  },
};

/** Empty when there is no such file any more. */
function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (systemCode(error) === "") throw error;
    return "";
  }
}

/** Fields of /proc/PID/stat from the third (`state`) on; the second may hold spaces and brackets. */
function statOf(pid: number): string[] {
  const text = read(`/proc/${pid}/stat`);
  return text === "" ? [] : text.slice(text.lastIndexOf(")") + 2).split(" ");
}

/** Milliseconds since the epoch; 0 when unknown. */
function startOf(pid: number): number {
  const ticks = Number(statOf(pid)[19]);
  const boot = Number(/^btime (\d+)$/m.exec(read("/proc/stat"))?.[1]);
  return Number.isFinite(ticks) && Number.isFinite(boot)
    ? boot * 1_000 + (ticks * 1_000) / TICKS_PER_SECOND
    : 0;
}
