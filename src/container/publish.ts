/**
 * What the registry's listener knows: which containers were told to it, who holds which address and which veth. Changes
 * are gathered and told together at the end of the current turn.
 */
import { addressesOf, type Entry, isLinkLocal } from "./entry.ts";
import type { Container, GuardedNetwork, RegistryChange } from "./types.ts";

interface Batch {
  readonly upsert: Map<string, Container>;
  readonly remove: Set<string>;
  readonly gone: Set<string>;
  networks: readonly GuardedNetwork[] | null;
}

export class Publication {
  readonly #onChange: (change: RegistryChange) => void;
  readonly #isBlocked: (id: string) => boolean;
  /** Address -> the container that the engine gave it to, and the one that it is published with. */
  readonly #owners = new Map<string, Entry>();
  readonly #holders = new Map<string, Entry>();
  readonly #veths = new Map<number, Entry>();
  #batch: Batch | null = null;

  constructor(onChange: (change: RegistryChange) => void, isBlocked: (id: string) => boolean) {
    this.#onChange = onChange;
    this.#isBlocked = isBlocked;
  }

  /** Who is behind a veth, as published. */
  byVeth(index: number): Entry | undefined {
    return this.#veths.get(index);
  }

  /** Interface indexes of all published veths. */
  veths(): IterableIterator<[number, Entry]> {
    return this.#veths.entries();
  }

  /** Null while its facts are unknown. */
  snapshot(entry: Entry): Container | null {
    return entry.container(this.#isBlocked(entry.id), (address) => {
      const owner = isLinkLocal(address) ? undefined : this.#owners.get(address);
      return owner === undefined || owner === entry;
    });
  }

  networks(networks: readonly GuardedNetwork[]): void {
    this.#open().networks = networks;
  }

  /** Tells what changed of the container since it was last told; `force`: tells it also when nothing did. */
  publish(entry: Entry, force = false): void {
    const before = entry.published;
    if (entry.present) {
      for (const { assigned } of entry.attachments.values())
        for (const address of assigned) this.#claim(entry, address);
    }
    const next = entry.present ? this.snapshot(entry) : null;
    if (next === null) {
      if (before !== null) this.#withdraw(entry, before);
      return;
    }
    const lives = before !== null && before.startedAt !== 0 && next.startedAt !== 0;
    if (lives && before.startedAt !== next.startedAt) this.#withdraw(entry, before);
    else if (before !== null) {
      if (!force && JSON.stringify(before) === JSON.stringify(next)) return;
      this.#release(entry, before, new Set(addressesOf(next)));
    }
    this.#open().upsert.set(entry.id, next);
    entry.published = next;
    for (const network of next.networks) {
      if (network.vethIndex !== 0) this.#veths.set(network.vethIndex, entry);
      for (const address of network.addresses) if (!isLinkLocal(address)) this.#holders.set(address, entry);
    }
  }

  /** The life that was told is over. */
  #withdraw(entry: Entry, before: Container): void {
    this.#release(entry, before, new Set());
    entry.published = null;
    const { upsert, remove } = this.#open();
    upsert.delete(entry.id);
    remove.add(entry.id);
  }

  #release(entry: Entry, before: Container, kept: ReadonlySet<string>): void {
    for (const { vethIndex } of before.networks) {
      if (this.#veths.get(vethIndex) === entry) this.#veths.delete(vethIndex);
    }
    for (const address of addressesOf(before)) {
      if (this.#holders.get(address) === entry) this.#holders.delete(address);
      if (kept.has(address)) continue;
      if (this.#owners.get(address) === entry && !entry.isAssigned(address)) this.#owners.delete(address);
      this.#open().gone.add(address);
    }
  }

  /** The engine gave the address to `entry`: whoever had it before has it no longer. */
  #claim(entry: Entry, address: string): void {
    const owner = this.#owners.get(address);
    if (owner === entry) return;
    this.#owners.set(address, entry);
    owner?.unassign(address);
    if (owner !== undefined) this.publish(owner);
    const holder = this.#holders.get(address);
    if (holder !== undefined && holder !== entry) this.publish(holder);
  }

  #open(): Batch {
    if (this.#batch === null) {
      this.#batch = { upsert: new Map(), remove: new Set(), gone: new Set(), networks: null };
      queueMicrotask(() => this.#flush());
    }
    return this.#batch;
  }

  #flush(): void {
    const batch = this.#batch;
    this.#batch = null;
    if (batch === null) return;
    this.#onChange({
      upsert: [...batch.upsert.values()],
      remove: [...batch.remove],
      gone: [...batch.gone],
      ...(batch.networks === null ? {} : { networks: batch.networks }),
    });
  }
}
