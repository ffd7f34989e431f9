/** What one life of one container has bound: which of its addresses came from which names, in order of last use. */
import { formatAddress } from "../address.ts";
import { wireToName } from "../name.ts";
import { copyBytes } from "./reply.ts";

/** As `ipv4Key` and `ipv6Key` make them. */
export type AddressKey = number | string;

/** The address that a key was made of, as text. */
export function addressOfKey(key: AddressKey): string {
  if (typeof key === "number") return formatAddress(Uint8Array.of(key >>> 24, key >>> 16, key >>> 8, key));
  const bytes = new Uint8Array(16);
  for (let index = 0; index < 8; index++) {
    const group = key.charCodeAt(index);
    bytes[index * 2] = group >>> 8;
    bytes[index * 2 + 1] = group;
  }
  return formatAddress(bytes);
}

/** A place in an order of bindings. */
class Link {
  readonly binding: Binding;
  older: Link | null = null;
  newer: Link | null = null;
  constructor(binding: Binding) {
    this.binding = binding;
  }
}

/** Bindings in order of last use. */
class Order {
  size = 0;
  #oldest: Link | null = null;
  #newest: Link | null = null;

  get oldest(): Binding | null {
    return this.#oldest?.binding ?? null;
  }

  /** Most recent first. */
  *[Symbol.iterator](): Generator<Binding> {
    for (let link = this.#newest; link !== null; link = link.older) yield link.binding;
  }

  /** The binding of the name to the address, if it is among these. */
  find(name: BoundName, address: BoundAddress): Binding | null {
    for (let link = this.#newest; link !== null; link = link.older) {
      const { binding } = link;
      if (binding.name === name && binding.address === address) return binding;
    }
    return null;
  }

  add(link: Link): void {
    link.older = this.#newest;
    link.newer = null;
    if (this.#newest === null) this.#oldest = link;
    else this.#newest.newer = link;
    this.#newest = link;
    this.size++;
  }

  remove(link: Link): void {
    if (link.older === null) this.#oldest = link.newer;
    else link.older.newer = link.newer;
    if (link.newer === null) this.#newest = link.older;
    else link.newer.older = link.older;
    link.older = null;
    link.newer = null;
    this.size--;
  }
}

/** A name that has bindings. */
class BoundName {
  readonly bindings = new Order();
  hash = 0;
  /** The next of the same hash. */
  next: BoundName | null = null;
  #wire = new Uint8Array(64);
  #length = 0;
  #text: string | null = null;

  /** Becomes another name. */
  set(wire: Uint8Array, hash: number): void {
    if (wire.length > this.#wire.length) this.#wire = new Uint8Array(255);
    copyBytes(wire, 0, this.#wire, 0, wire.length);
    this.#length = wire.length;
    this.#text = null;
    this.hash = hash;
  }

  is(wire: Uint8Array): boolean {
    if (wire.length !== this.#length) return false;
    for (let index = 0; index < wire.length; index++) if (wire[index] !== this.#wire[index]) return false;
    return true;
  }

  get text(): string {
    this.#text ??= wireToName(this.#wire);
    return this.#text;
  }
}

/** An address that has bindings. */
class BoundAddress {
  readonly bindings = new Order();
  key: AddressKey = 0;
}

export class Binding {
  name: BoundName;
  address: BoundAddress;
  /** Milliseconds of the monotonic clock. */
  expires = 0;
  readonly inAll: Link;
  readonly inName: Link;
  readonly inAddress: Link;
  constructor(name: BoundName, address: BoundAddress) {
    this.name = name;
    this.address = address;
    this.inAll = new Link(this);
    this.inName = new Link(this);
    this.inAddress = new Link(this);
  }
}

const SPARES = 4096;

/** What bindings are made of, let go of by one container and taken by the next. */
export class Spares {
  readonly names: BoundName[] = [];
  readonly addresses: BoundAddress[] = [];
  readonly bindings: Binding[] = [];
}

function spare<Part>(part: Part, spares: Part[]): void {
  if (spares.length < SPARES) spares.push(part);
}

export class Bindings {
  readonly generation: number;
  readonly #spares: Spares;
  readonly #seed: number;
  readonly #addresses = new Map<AddressKey, BoundAddress>();
  /** By hash of the name, in a chain. */
  readonly #names = new Map<number, BoundName>();
  readonly #all = new Order();

  /** `seed` makes hashes unpredictable, so that nobody can choose names that share a chain. */
  constructor(generation: number, spares: Spares, seed: number) {
    this.generation = generation;
    this.#spares = spares;
    this.#seed = seed;
  }

  get size(): number {
    return this.#all.size;
  }

  /** The one that was bound or used longest ago. */
  get oldest(): Binding | null {
    return this.#all.oldest;
  }

  /** Those whose time is not over, most recent first. */
  *held(now: number): Generator<Binding> {
    for (const binding of this.#all) if (binding.expires > now) yield binding;
  }

  /** Those whose time is over. */
  expired(now: number): Binding[] {
    return [...this.#all].filter((binding) => binding.expires <= now);
  }

  /** Bindings of an address whose time is not over, most recent first; null when it was never bound. */
  live(key: AddressKey, now: number): Binding[] | null {
    const address = this.#addresses.get(key);
    return address === undefined ? null : [...address.bindings].filter((binding) => binding.expires > now);
  }

  /** Binds the address to the folded wire name, or finds that it is bound; that is the most recent one then. */
  bind(wire: Uint8Array, key: AddressKey): Binding {
    const name = this.#name(wire);
    let address = this.#addresses.get(key);
    if (address === undefined) {
      address = this.#spares.addresses.pop() ?? new BoundAddress();
      address.key = key;
      this.#addresses.set(key, address);
    }
    const few = name.bindings.size < address.bindings.size ? name.bindings : address.bindings;
    const known = few.find(name, address);
    if (known !== null) {
      address.bindings.remove(known.inAddress);
      address.bindings.add(known.inAddress);
      this.use(known);
      return known;
    }
    const binding = this.#spares.bindings.pop() ?? new Binding(name, address);
    binding.name = name;
    binding.address = address;
    binding.expires = 0;
    this.#all.add(binding.inAll);
    name.bindings.add(binding.inName);
    address.bindings.add(binding.inAddress);
    return binding;
  }

  /** It was used: it is the last now that gives way, of all and of its name's. */
  use({ inAll, inName, name }: Binding): void {
    this.#all.remove(inAll);
    this.#all.add(inAll);
    name.bindings.remove(inName);
    name.bindings.add(inName);
  }

  remove(binding: Binding): void {
    const { name, address } = binding;
    this.#all.remove(binding.inAll);
    name.bindings.remove(binding.inName);
    address.bindings.remove(binding.inAddress);
    if (name.bindings.size === 0) this.#forget(name);
    if (address.bindings.size === 0) {
      this.#addresses.delete(address.key);
      spare(address, this.#spares.addresses);
    }
    spare(binding, this.#spares.bindings);
  }

  #name(wire: Uint8Array): BoundName {
    let hash = this.#seed;
    for (let index = 0; index < wire.length; index++) hash = Math.imul(hash ^ wire[index]!, 0x01000193);
    hash ^= hash >>> 15;
    const first = this.#names.get(hash) ?? null;
    for (let name = first; name !== null; name = name.next) if (name.is(wire)) return name;
    const name = this.#spares.names.pop() ?? new BoundName();
    name.set(wire, hash);
    name.next = first;
    this.#names.set(hash, name);
    return name;
  }

  #forget(name: BoundName): void {
    const first = this.#names.get(name.hash) ?? null;
    if (first !== name) {
      for (let before = first; before !== null; before = before.next) {
        if (before.next === name) before.next = name.next;
      }
    } else if (name.next === null) this.#names.delete(name.hash);
    else this.#names.set(name.hash, name.next);
    name.next = null;
    spare(name, this.#spares.names);
  }
}
