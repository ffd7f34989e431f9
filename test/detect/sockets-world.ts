/** Containers and processes that exist only on paper, for the detectors of sockets. */
import { ManualClock } from "../../src/clock.ts";
import { WatchedNamespaces } from "../../src/detect/sockets/namespaces.ts";
import type { ProcessTable, SocketProcess } from "../../src/detect/sockets/processes.ts";

export const ONE = "1".repeat(64);
export const TWO = "2".repeat(64);

export class SocketsWorld {
  readonly clock = new ManualClock(1_000_000);
  /** Path to inode number of a namespace. */
  readonly paths = new Map<string, number>([["/proc/self/ns/net", 1]]);
  readonly namespaces = new WatchedNamespaces((path) => this.paths.get(path) ?? 0);
  /** Socket inode to its process. */
  readonly held = new Map<number, SocketProcess>();
  readonly threads = new Map<number, SocketProcess>();
  /** How often the descriptors of a namespace's processes were read. */
  searches = 0;
  readonly processes: ProcessTable = {
    holders: (inodes, namespace) => {
      this.searches++;
      return new Map(
        [...this.held].filter(([inode, held]) => inodes.has(inode) && held.namespace === namespace),
      );
    },
    find: (thread) => this.threads.get(thread),
  };

  /** Runs a container whose first process is `pid` in the namespace with that inode number. */
  add(id: string, pid: number, namespace: number): void {
    const networkNamespace = `/proc/${pid}/ns/net`;
    this.paths.set(networkNamespace, namespace);
    this.namespaces.upsert({ id, pid, networkNamespace });
  }
}

export function processOf(pid: number, command: string, container: string, namespace: number): SocketProcess {
  return { pid, command, cgroup: `0::/system.slice/docker-${container}.scope\n`, namespace };
}
