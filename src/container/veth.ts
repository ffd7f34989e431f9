/**
 * Which interface on the host belongs to which interface in a container. A veth pair names its other end by interface
 * index (IFLA_LINK), each in the other's namespace; both ends must name each other, since indexes alone repeat from
 * namespace to namespace (a container that runs containers has veths of its own).
 */
import type { Link } from "../native/types.ts";
import { canonicalAddress } from "./engine.ts";

/** One veth pair between the host and a namespace. */
export interface VethPair {
  /** Host side. */
  readonly index: number;
  readonly name: string;
  /** Bridge on the host that the host side is a port of; empty when none. */
  readonly bridge: string;
  /** Container side. */
  readonly hardwareAddress: string;
  /** Addresses inside the namespace, without prefix length, RFC 5952 form. */
  readonly addresses: readonly string[];
}

/** The host's own interfaces at one moment. */
export class HostLinks {
  readonly #byIndex = new Map<number, Link>();
  readonly #byName = new Map<string, Link>();

  constructor(links: readonly Link[]) {
    for (const link of links) {
      this.#byIndex.set(link.index, link);
      this.#byName.set(link.name, link);
    }
  }

  byIndex(index: number): Link | undefined {
    return this.#byIndex.get(index);
  }

  /** The bridge of that name, if there is one. */
  bridge(name: string): Link | undefined {
    const link = this.#byName.get(name);
    return link?.kind === "bridge" ? link : undefined;
  }

  bridges(): readonly Link[] {
    return [...this.#byIndex.values()].filter((link) => link.kind === "bridge");
  }

  /** Name of the bridge that the link is a port of; empty when none. */
  bridgeOf(link: Link): string {
    return link.master === 0 ? "" : (this.#byIndex.get(link.master)?.name ?? "");
  }

  /** The pairs between the host and the namespace that holds `inside`. */
  pairs(inside: readonly Link[]): VethPair[] {
    const pairs: VethPair[] = [];
    for (const link of inside) {
      // A port of a bridge inside leads on to a nested container, not to the host.
      if (link.peer === 0 || link.master !== 0) continue;
      const host = this.#byIndex.get(link.peer);
      if (host === undefined || host.peer !== link.index || (host.kind !== "veth" && host.kind !== ""))
        continue;
      const addresses = new Set<string>();
      for (const text of link.addresses) {
        const address = canonicalAddress(text);
        if (address !== null) addresses.add(address);
      }
      pairs.push({
        index: host.index,
        name: host.name,
        bridge: this.bridgeOf(host),
        hardwareAddress: link.hardwareAddress.toLowerCase(),
        addresses: [...addresses],
      });
    }
    return pairs;
  }
}
