/**
 * The data thread's view of the containers: who sits behind a veth or an address. Identity of a packet is its veth; the
 * source address is a check. Of a lookup it is the ingress bridge and the source address, which the packet queue has
 * checked before. Every life of a container gets a new generation, so that nothing cached for an address outlives it.
 */
import { ipv4Key, ipv6Key, parseAddress } from "../address.ts";
import type { ModelView, Policy, Profile } from "../policy/types.ts";
import type { Container } from "./types.ts";

/** One container as the data thread holds it. `slot` is dense and small, reused after removal under a new `generation`. */
export interface Resident {
  readonly slot: number;
  readonly generation: number;
  container: Container;
  profile: Profile | null;
  /** Cut off by a `block`: every packet and lookup of it is dropped, undecided. */
  cut: boolean;
}

export class ContainerTable {
  readonly #byId = new Map<string, Resident>();
  readonly #byVeth = new Map<number, Resident>();
  readonly #byIpv4 = new Map<number, Resident>();
  readonly #byIpv6 = new Map<string, Resident>();
  readonly #slots: (Resident | null)[] = [];
  #generation = 0;

  get size(): number {
    return this.#byId.size;
  }

  [Symbol.iterator](): Iterator<Resident> {
    return this.#byId.values();
  }

  /** Adds a container or replaces what is known of it. A new life (other start time) is a new resident. */
  upsert(container: Container): Resident {
    const known = this.#byId.get(container.id);
    const sameLife =
      known !== undefined &&
      (known.container.startedAt === container.startedAt ||
        known.container.startedAt === 0 ||
        container.startedAt === 0);
    if (known !== undefined) this.#unindex(known);
    let resident: Resident;
    if (known !== undefined && sameLife) {
      resident = known;
      resident.container = container;
    } else {
      const cut = known?.cut ?? false;
      if (known !== undefined) this.#slots[known.slot] = null;
      let slot = this.#slots.indexOf(null);
      if (slot < 0) slot = this.#slots.length;
      resident = { slot, generation: ++this.#generation, container, profile: null, cut };
      this.#slots[slot] = resident;
      this.#byId.set(container.id, resident);
    }
    for (const network of container.networks) {
      if (network.vethIndex !== 0) this.#byVeth.set(network.vethIndex, resident);
      for (const text of network.addresses) {
        const bytes = parseAddress(text);
        if (bytes === null || isLinkLocal(bytes)) continue;
        if (bytes.length === 4) this.#byIpv4.set(ipv4Key(bytes), resident);
        else this.#byIpv6.set(ipv6Key(bytes), resident);
      }
    }
    return resident;
  }

  remove(id: string): Resident | undefined {
    const resident = this.#byId.get(id);
    if (resident === undefined) return undefined;
    this.#unindex(resident);
    this.#byId.delete(id);
    this.#slots[resident.slot] = null;
    return resident;
  }

  byId(id: string): Resident | undefined {
    return this.#byId.get(id);
  }

  /** `index`: interface index of a bridge port on the host. */
  byVeth(index: number): Resident | undefined {
    return this.#byVeth.get(index);
  }

  /** 4 or 16 bytes at `bytes[offset]`. */
  byAddress(bytes: Uint8Array, offset: number, length: number): Resident | undefined {
    return length === 4 ? this.#byIpv4.get(ipv4Key(bytes, offset)) : this.#byIpv6.get(ipv6Key(bytes, offset));
  }

  /** `key` as `ipv4Key` makes it. */
  byIpv4(key: number): Resident | undefined {
    return this.#byIpv4.get(key);
  }

  /** Gives every resident the profile that `policy` has for it. */
  assign(policy: Policy, model: (container: Container) => ModelView | null): void {
    for (const resident of this.#byId.values()) {
      resident.profile = policy.profileFor(resident.container, model(resident.container));
    }
  }

  #unindex(resident: Resident): void {
    for (const [key, value] of this.#byVeth) if (value === resident) this.#byVeth.delete(key);
    for (const [key, value] of this.#byIpv4) if (value === resident) this.#byIpv4.delete(key);
    for (const [key, value] of this.#byIpv6) if (value === resident) this.#byIpv6.delete(key);
  }
}

function isLinkLocal(bytes: Uint8Array): boolean {
  return bytes.length === 16 && bytes[0] === 0xfe && (bytes[1]! & 0xc0) === 0x80;
}
