/** Processes by what /proc tells: who holds a socket, and where a thread belongs. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { systemCode } from "../../errors.ts";
import type { Whereabouts } from "./namespaces.ts";

export interface SocketProcess extends Whereabouts {
  /** Host pid of the process, also when a thread of it was asked for. */
  readonly pid: number;
  /** What it goes by (/proc/PID/comm, at most 15 bytes, chosen by the process itself). */
  readonly command: string;
}

export interface ProcessTable {
  /**
   * The processes in a network namespace that hold the sockets with these inode numbers. Reads the descriptors of every
   * process there, about 0.1 ms for each: for what is new alone.
   */
  holders(inodes: ReadonlySet<number>, namespace: number): ReadonlyMap<number, SocketProcess>;
  /** The process of a thread; undefined when it is gone. */
  find(thread: number): SocketProcess | undefined;
}

/** Descriptors looked at in one process. */
const MAX_DESCRIPTORS = 65_536;

export const hostProcessTable: ProcessTable = {
  holders(inodes, namespace) {
    const found = new Map<number, SocketProcess>();
    const place = `net:[${namespace}]`;
    for (const name of entries("/proc")) {
      if (found.size === inodes.size) break;
      const pid = Number(name);
      if (!Number.isInteger(pid) || link(`/proc/${pid}/ns/net`) !== place) continue;
      for (const descriptor of entries(`/proc/${pid}/fd`).slice(0, MAX_DESCRIPTORS)) {
        const inode = Number(/^socket:\[(\d+)\]$/.exec(link(`/proc/${pid}/fd/${descriptor}`))?.[1] ?? 0);
        if (inode === 0 || !inodes.has(inode) || found.has(inode)) continue;
        const process = this.find(pid);
        if (process !== undefined) found.set(inode, process);
      }
    }
    return found;
  },

  find(thread) {
    // The control group first: it is told until a process that ended is reaped, the namespace only while it lives.
    const cgroup = read(`/proc/${thread}/cgroup`);
    const pid = Number(/^Tgid:\s*(\d+)$/m.exec(read(`/proc/${thread}/status`))?.[1] ?? thread);
    // The process's, since an engine's threads visit the namespaces of its containers (Docker announces addresses there
    // by packet sockets); the thread's own where the process's first thread has ended.
    const namespace = namespaceOf(pid) || namespaceOf(thread);
    if (cgroup === "" && namespace === 0) return undefined;
    const command = read(`/proc/${pid}/comm`).replace(/\n$/, "");
    return { pid, command, cgroup, namespace };
  },
};

function namespaceOf(pid: number): number {
  return Number(/^net:\[(\d+)\]$/.exec(link(`/proc/${pid}/ns/net`))?.[1] ?? 0);
}

/** Empty when there is no such file any more. */
function read(path: string): string {
  return attempt(() => readFileSync(path, "utf8"), "");
}
function link(path: string): string {
  return attempt(() => readlinkSync(path), "");
}
function entries(path: string): readonly string[] {
  return attempt(() => readdirSync(path), []);
}
function attempt<Value>(act: () => Value, otherwise: Value): Value {
  try {
    return act();
  } catch (error) {
    if (systemCode(error) === "") throw error;
    return otherwise;
  }
}
