/**
 * Where an address came from: container -> address -> names.
 *
 * A connection carries an address, an operator thinks in names, and a rule may be about either. What joins them is the
 * answer that gave the container the address. So whenever a reply goes out, every address in it is bound, for that
 * container alone, to the name it asked for and to each alias on the way; when it opens a connection, the packet handler
 * asks for the names. An address that was never bound is an event of its own.
 *
 * How long. The TTL says how long an answer may be cached, not how long an address is used: a pool reconnects, a JVM or
 * a proxy caches for minutes whatever the TTL, a TTL of 0 is over before the first packet. Forgetting early makes false
 * alarms, and false alarms cost more here than a binding that outlives its use: to misuse one, an address must change
 * hands within minutes and the container must go there without asking. So a binding lives for the TTL and a minute, at
 * least ten minutes, and each connection that uses it (`names` found it) gives it ten minutes more: it lives as long as
 * flows keep coming.
 *
 * How much. A container that looks up endless names must not eat the host's memory, nor push out another's bindings:
 * each has its own table with a cap, a cap per name (rotating answers) and one per address (a CDN's address has many
 * names). What was bound or used longest ago goes first. An eviction raises the container's epoch, which ends the
 * answer cache's shortcuts for it: a name that is asked for again is bound again.
 *
 * What it cannot do. It sees names, not intent: when one address stands for many names of the container, all of them are
 * given, and which one a flow meant only its TLS or HTTP header can tell. A container that gets addresses elsewhere (a
 * file, a peer, its own encrypted resolver) is not explained by it, which is the point of reporting it.
 *
 * Names are kept in wire form and text is made only of those that are asked for, which are few. What is let go of is used
 * again, since a container that looks up ever new names binds and evicts at the pace of its lookups.
 *
 * Times are milliseconds of the monotonic clock. IPv4 addresses are number keys, IPv6 addresses string keys.
 */
import { ipv4Key, ipv6Key } from "../address.ts";
import type { Resident } from "../container/table.ts";
import { type AddressKey, addressOfKey, type Binding, Bindings, Spares } from "./bindings.ts";

const GRACE = 60_000;
const LEAST = 600_000;
const PER_CONTAINER = 4096;
const PER_NAME = 256;
const PER_ADDRESS = 64;

const NO_NAMES: readonly string[] = Object.freeze([]);

/** A name, and where it led. Presentation form. */
export interface ResolvedName {
  readonly name: string;
  readonly addresses: readonly string[];
}

export class Provenance {
  /** By slot of the resident. */
  readonly #containers: (Bindings | undefined)[] = [];
  readonly #spares = new Spares();
  readonly #seed: number;
  #epochs = new Int32Array(64);
  #count = 0;

  /** `seed` makes hashes of names unpredictable. */
  constructor(seed: number) {
    this.#seed = seed;
  }

  /** Bindings held, over all containers. */
  get count(): number {
    return this.#count;
  }

  /** Changes whenever a binding of the container was evicted or forgotten before its time. */
  epoch(resident: Resident): number {
    return this.#epochs[resident.slot] ?? 0;
  }

  /**
   * Binds each of `addresses` (4 or 16 bytes) to the `name` asked for and to each of its `aliases`, both in folded wire
   * form, for `ttl` seconds and grace.
   */
  bind(
    resident: Resident,
    name: Uint8Array,
    aliases: readonly Uint8Array[],
    addresses: readonly Uint8Array[],
    ttl: number,
    now: number,
  ): void {
    if (addresses.length === 0) return;
    const bindings = this.#of(resident);
    const expires = now + Math.max(ttl * 1000 + GRACE, LEAST);
    for (const address of addresses) {
      const key = address.length === 4 ? ipv4Key(address) : ipv6Key(address);
      for (let index = aliases.length - 1; index >= 0; index--) {
        this.#bindOne(bindings, aliases[index]!, key, expires);
      }
      this.#bindOne(bindings, name, key, expires);
    }
    this.#trim(resident, bindings, now);
  }

  /**
   * Names that the container resolved the address (`length` 4 or 16 bytes at `bytes[offset]`) from, most recent first.
   * For the start of a connection: what is found is kept ten minutes more. Allocates nothing when nothing is found.
   */
  names(
    resident: Resident,
    bytes: Uint8Array,
    offset: number,
    length: number,
    now: number,
  ): readonly string[] {
    const bindings = this.#containers[resident.slot];
    if (bindings === undefined || bindings.generation !== resident.generation) return NO_NAMES;
    const live = bindings.live(length === 4 ? ipv4Key(bytes, offset) : ipv6Key(bytes, offset), now);
    if (live === null || live.length === 0) return NO_NAMES;
    for (let index = live.length - 1; index >= 0; index--) {
      const binding = live[index]!;
      binding.expires = Math.max(binding.expires, now + LEAST);
      bindings.use(binding);
    }
    return live.map((binding) => binding.name.text);
  }

  /** All that the container resolved and that is bound yet, aliases too; most recent first. Keeps nothing longer. */
  held(resident: Resident, now: number): readonly ResolvedName[] {
    const bindings = this.#containers[resident.slot];
    if (bindings === undefined || bindings.generation !== resident.generation) return [];
    const held = new Map<string, string[]>();
    for (const { name, address } of bindings.held(now)) {
      const addresses = held.get(name.text) ?? [];
      held.set(name.text, addresses);
      addresses.push(addressOfKey(address.key));
    }
    return Array.from(held, ([name, addresses]) => ({ name, addresses }));
  }

  /** Drops all that is bound for this life of the container. */
  forget(resident: Resident): void {
    const bindings = this.#containers[resident.slot];
    if (bindings === undefined || bindings.generation !== resident.generation) return;
    this.#count -= bindings.size;
    this.#containers[resident.slot] = undefined;
    this.#raiseEpoch(resident.slot);
  }

  /** Drops what has expired; to be called now and then. */
  sweep(now: number): void {
    for (const bindings of this.#containers) {
      for (const binding of bindings?.expired(now) ?? []) if (bindings) this.#remove(bindings, binding);
    }
  }

  #of(resident: Resident): Bindings {
    const known = this.#containers[resident.slot];
    if (known !== undefined && known.generation === resident.generation) return known;
    if (known !== undefined) this.#count -= known.size;
    const fresh = new Bindings(resident.generation, this.#spares, this.#seed);
    this.#containers[resident.slot] = fresh;
    return fresh;
  }

  #bindOne(bindings: Bindings, name: Uint8Array, key: AddressKey, expires: number): void {
    const before = bindings.size;
    const binding = bindings.bind(name, key);
    binding.expires = Math.max(binding.expires, expires);
    if (bindings.size === before) return;
    this.#count++;
    // Neither leaves an address without a name, so neither ends a shortcut.
    const { bindings: here } = binding.address;
    if (here.size > PER_ADDRESS && here.oldest !== null) this.#remove(bindings, here.oldest);
    const { bindings: alike } = binding.name;
    if (alike.size > PER_NAME && alike.oldest !== null) this.#remove(bindings, alike.oldest);
  }

  /** Expired ones at the old end go silently, then the oldest until the cap holds. */
  #trim(resident: Resident, bindings: Bindings, now: number): void {
    for (let oldest = bindings.oldest; oldest !== null; oldest = bindings.oldest) {
      if (oldest.expires > now) {
        if (bindings.size <= PER_CONTAINER) return;
        this.#raiseEpoch(resident.slot);
      }
      this.#remove(bindings, oldest);
    }
  }

  #remove(bindings: Bindings, binding: Binding): void {
    bindings.remove(binding);
    this.#count--;
  }

  #raiseEpoch(slot: number): void {
    if (slot >= this.#epochs.length) {
      const wider = new Int32Array(slot * 2);
      wider.set(this.#epochs);
      this.#epochs = wider;
    }
    this.#epochs[slot] = this.#epochs[slot]! + 1;
  }
}
