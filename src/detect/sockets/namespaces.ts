/**
 * The network namespaces of the containers that run: each is looked into once, however many containers share it, and a
 * process is traced to its container by control group first (which tells containers of one namespace apart, and those of
 * the host's), then by namespace. Containers in the host's own namespace have no tables of their own to look into.
 */
import { statSync } from "node:fs";
import { systemCode } from "../../errors.ts";

/** What is needed of a container; the registry's have it all. */
export interface WatchedContainer {
  readonly id: string;
  /** Host pid of its first process; 0 when it does not run. */
  readonly pid: number;
  readonly networkNamespace: string;
}

export interface WatchedNamespace {
  /** Inode number of the namespace, as in `net:[4026532281]`. */
  readonly inode: number;
  readonly path: string;
  /** A process that lives in it; 0: none is known. */
  readonly pid: number;
  /** Ids, the one that was told of first in front: what nobody else is known to own is put down to it. */
  readonly containers: readonly string[];
}

/** Where a process was found to be. */
export interface Whereabouts {
  /** Text of /proc/PID/cgroup; empty when unknown. */
  readonly cgroup: string;
  /** Inode number of its network namespace; 0 when unknown. */
  readonly namespace: number;
}

/** Inode number of the namespace at the path; 0 when there is none. */
export type Identify = (path: string) => number;

interface Entry extends WatchedContainer {
  /** What the path led to when the container was told of: a pid may be another's by now. 0: not found yet. */
  namespace: number;
}

export class WatchedNamespaces {
  readonly #entries = new Map<string, Entry>();
  readonly #identify: Identify;
  readonly #own: number;

  constructor(identify: Identify = namespaceInode) {
    this.#identify = identify;
    this.#own = identify("/proc/self/ns/net");
  }

  /** A container runs, or runs anew. */
  upsert({ id, pid, networkNamespace }: WatchedContainer): void {
    const known = this.#entries.get(id);
    if (known !== undefined && known.pid === pid && known.networkNamespace === networkNamespace) return;
    this.#entries.set(id, { id, pid, networkNamespace, namespace: this.#identify(networkNamespace) });
  }

  remove(id: string): void {
    this.#entries.delete(id);
  }

  /** Each namespace that is still what it was, in a steady order. */
  list(): WatchedNamespace[] {
    const found = new Map<number, { inode: number; path: string; pid: number; containers: string[] }>();
    for (const entry of this.#entries.values()) {
      const { id, networkNamespace: path, pid } = entry;
      const inode = this.#identify(path);
      if (entry.namespace === 0) entry.namespace = inode;
      if (inode === 0 || inode === this.#own || inode !== entry.namespace) continue;
      const living = pid !== 0 && this.#identify(`/proc/${pid}/ns/net`) === inode ? pid : 0;
      const namespace = found.get(inode);
      if (namespace === undefined) found.set(inode, { inode, path, pid: living, containers: [id] });
      else {
        namespace.containers.push(id);
        if (namespace.pid === 0) namespace.pid = living;
      }
    }
    return [...found.values()];
  }

  /** The container that a process belongs to, or null. */
  containerOf({ cgroup, namespace }: Whereabouts): string | null {
    // Every runtime names the control group after the container (`/docker/ID`, `docker-ID.scope`, `libpod-ID.scope`).
    for (const [id] of cgroup.matchAll(/[0-9a-f]{64}/g)) if (this.#entries.has(id)) return id;
    if (namespace === 0 || namespace === this.#own) return null;
    for (const entry of this.#entries.values()) if (entry.namespace === namespace) return entry.id;
    return null;
  }
}

export function namespaceInode(path: string): number {
  if (path === "") return 0;
  try {
    return statSync(path).ino;
  } catch (error) {
    // Gone with its process, or not visible to us: either way it names nothing.
    if (systemCode(error) === "") throw error;
    return 0;
  }
}
