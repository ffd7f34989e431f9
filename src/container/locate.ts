/**
 * Finds containers' interfaces in the kernel: the host's links, the runtimes' namespaces, and which pairs between them.
 */
import type { Link, Native } from "../native/types.ts";
import { bridgeOf, guardedNetworks } from "./bridge.ts";
import type { NetworkDetail } from "./engine.ts";
import { type Entry, isSameInterface } from "./entry.ts";
import { Namespaces } from "./namespaces.ts";
import type { GuardedNetwork } from "./types.ts";
import { HostLinks, type VethPair } from "./veth.ts";

export interface LocatorOptions {
  readonly native: Pick<Native, "links">;
  readonly namespaceDirectories: readonly string[];
  /** Links could not be read; a namespace usually went away with its container. */
  readonly onFailure: (path: string, error: unknown) => void;
}

export class Locator {
  readonly #options: LocatorOptions;
  readonly #namespaces: Namespaces;
  /** The host's links as last read, and whether they may have changed since. */
  #host = new HostLinks([]);
  #expired = true;
  #guarded: readonly GuardedNetwork[] = [];

  constructor(options: LocatorOptions) {
    this.#options = options;
    this.#namespaces = new Namespaces(options.namespaceDirectories);
  }

  get guarded(): readonly GuardedNetwork[] {
    return this.#guarded;
  }

  /** The host's links; where the kernel refuses to tell them, as they last were. */
  get host(): HostLinks {
    if (!this.#expired) return this.#host;
    try {
      this.#host = new HostLinks(this.#options.native.links());
      this.#expired = false;
    } catch (error) {
      this.#options.onFailure("the host", error);
    }
    return this.#host;
  }

  /** The host's links may have changed: read them again when they are next needed. */
  expire(): void {
    this.#expired = true;
  }

  /** Works out which networks have a bridge here; true when that changed. */
  guard(networks: Iterable<NetworkDetail>): boolean {
    const guarded = guardedNetworks(networks, this.host);
    if (JSON.stringify(guarded) === JSON.stringify(this.#guarded)) return false;
    this.#guarded = guarded;
    return true;
  }

  bridgeOf(network: NetworkDetail | undefined): string {
    return network === undefined ? "" : bridgeOf(network, this.host);
  }

  /** Settles the container's namespace: the first of `paths` that leads to one other than our own, or none. */
  settle(entry: Entry, paths: readonly string[]): void {
    for (const path of paths) {
      const namespace = path === "" ? "" : this.#namespaces.identity(path);
      if (namespace === "") continue;
      entry.namespacePath = path;
      entry.namespace = namespace;
      if (!path.startsWith("/proc/")) this.#namespaces.learn(path);
      return;
    }
    entry.namespacePath = "";
    entry.namespace = "";
  }

  /** Reads the container's interfaces anew. */
  locate(entry: Entry): void {
    if (entry.namespacePath === "" || !entry.separate) return;
    // The path may lead elsewhere by now: a pid is used again, a file is removed.
    if (this.#namespaces.identity(entry.namespacePath) !== entry.namespace) return;
    const pairs = this.#pairs(entry.namespacePath);
    if (pairs !== null) this.#place(entry, pairs);
  }

  /**
   * Looks in the namespaces that belong to none of `entries` for the interfaces of those that have none yet. Returns
   * the containers that it found.
   */
  search(entries: Iterable<Entry>): Entry[] {
    const known = new Set<string>();
    const seekers: Entry[] = [];
    for (const entry of entries) {
      if (entry.namespace !== "") known.add(entry.namespace);
      else if (entry.unlocated) seekers.push(entry);
    }
    const found: Entry[] = [];
    if (seekers.length === 0) return found;
    for (const path of this.#namespaces.others(known)) {
      const pairs = this.#pairs(path) ?? [];
      const owner = seekers.find((entry) => isBehind(entry, pairs));
      if (owner === undefined) continue;
      this.settle(owner, [path]);
      this.#place(owner, pairs);
      found.push(owner);
    }
    return found;
  }

  #place(entry: Entry, pairs: readonly VethPair[]): void {
    entry.place(pairs, (bridge) => this.#guarded.find((network) => network.bridge === bridge) ?? null);
  }

  /** Null when the namespace cannot be read. */
  #pairs(path: string): VethPair[] | null {
    let inside: readonly Link[];
    try {
      inside = this.#options.native.links(path);
    } catch (error) {
      this.#options.onFailure(path, error);
      return null;
    }
    const pairs = this.host.pairs(inside);
    const expected = inside.filter(({ peer, master }) => peer !== 0 && master === 0).length;
    if (pairs.length === expected && pairs.every(({ bridge }) => bridge !== "")) return pairs;
    // An interface newer than what we know of the host, or one that was not yet a port of its bridge.
    this.expire();
    return this.host.pairs(inside);
  }
}

/** Whether one of the pairs leads to an interface that the engine says is the container's. */
function isBehind(entry: Entry, pairs: readonly VethPair[]): boolean {
  for (const attachment of entry.attachments.values()) {
    for (const pair of pairs) {
      const bridged = attachment.bridge === "" || pair.bridge === "" || pair.bridge === attachment.bridge;
      if (bridged && isSameInterface(pair, attachment)) return true;
    }
  }
  return false;
}
