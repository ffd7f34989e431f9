/**
 * The data thread's view of the containers: who sits behind a veth or an address. Identity of a packet is its veth; the
 * source address is a check. Of a lookup it is the ingress bridge and the source address, which the packet queue has
 * checked before. Every life of a container gets a new generation, so that nothing cached for an address outlives it.
 */
import { ipv4Key, ipv6Key, parseAddress } from "../address.ts";
import type { Profile } from "../policy/types.ts";
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

/** A resident and the keys it is found by. */
interface Held {
  readonly resident: Resident;
  /** Start time of this life; 0 until it was told. */
  startedAt: number;
  readonly veths: number[];
  readonly ipv4: number[];
  readonly ipv6: string[];
}

export class ContainerTable {
  readonly #byId = new Map<string, Held>();
  readonly #byVeth = new Map<number, Resident>();
  readonly #byIpv4 = new Map<number, Resident>();
  readonly #byIpv6 = new Map<string, Resident>();
  readonly #slots: (Resident | null)[] = [];
  #generation = 0;

  get size(): number {
    return this.#byId.size;
  }

  *[Symbol.iterator](): Generator<Resident> {
    for (const { resident } of this.#byId.values()) yield resident;
  }

  /**
   * Adds a container or replaces what is known of it. A new life (other start time) is a new resident. One that the
   * main thread says is blocked is cut from its first packet on; a cut is ended by its owner only.
   */
  upsert(container: Container): Resident {
    let held = this.#byId.get(container.id);
    if (held !== undefined) this.#unindex(held);
    // A container that is being started has no start time yet.
    const { startedAt } = container;
    if (held !== undefined && (held.startedAt === startedAt || held.startedAt === 0 || startedAt === 0)) {
      held.resident.container = container;
      held.startedAt ||= startedAt;
    } else {
      const cut = held?.resident.cut ?? false;
      if (held !== undefined) this.#slots[held.resident.slot] = null;
      let slot = this.#slots.indexOf(null);
      if (slot < 0) slot = this.#slots.length;
      const resident: Resident = { slot, generation: ++this.#generation, container, profile: null, cut };
      held = { resident, startedAt, veths: [], ipv4: [], ipv6: [] };
      this.#slots[slot] = resident;
      this.#byId.set(container.id, held);
    }
    if (container.state === "blocked") held.resident.cut = true;
    this.#index(held);
    return held.resident;
  }

  remove(id: string): Resident | undefined {
    const held = this.#byId.get(id);
    if (held === undefined) return undefined;
    this.#unindex(held);
    this.#byId.delete(id);
    this.#slots[held.resident.slot] = null;
    return held.resident;
  }

  byId(id: string): Resident | undefined {
    return this.#byId.get(id)?.resident;
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

  /** Gives every resident the profile that it has now. */
  assign(profileOf: (container: Container) => Profile): void {
    for (const { resident } of this.#byId.values()) resident.profile = profileOf(resident.container);
  }

  /** Where two claim a key, the one told last has it. */
  #index({ resident, veths, ipv4, ipv6 }: Held): void {
    for (const network of resident.container.networks) {
      if (network.vethIndex !== 0) {
        veths.push(network.vethIndex);
        this.#byVeth.set(network.vethIndex, resident);
      }
      for (const text of network.addresses) {
        const bytes = parseAddress(text);
        // Link-local addresses repeat from bridge to bridge: they name nobody.
        if (bytes === null || isLinkLocal(bytes)) continue;
        if (bytes.length === 4) {
          const key = ipv4Key(bytes);
          ipv4.push(key);
          this.#byIpv4.set(key, resident);
        } else {
          const key = ipv6Key(bytes);
          ipv6.push(key);
          this.#byIpv6.set(key, resident);
        }
      }
    }
  }

  #unindex({ resident, veths, ipv4, ipv6 }: Held): void {
    for (const key of veths.splice(0)) if (this.#byVeth.get(key) === resident) this.#byVeth.delete(key);
    for (const key of ipv4.splice(0)) if (this.#byIpv4.get(key) === resident) this.#byIpv4.delete(key);
    for (const key of ipv6.splice(0)) if (this.#byIpv6.get(key) === resident) this.#byIpv6.delete(key);
  }
}

function isLinkLocal(bytes: Uint8Array): boolean {
  return bytes.length === 16 && bytes[0] === 0xfe && (bytes[1]! & 0xc0) === 0x80;
}
