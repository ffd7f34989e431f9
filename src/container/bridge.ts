/** The host bridge of a container network, checked against the interfaces that are there. */
import { parseAddress, parsePrefix, prefixContains } from "../address.ts";
import type { NetworkDetail } from "./engine.ts";
import type { GuardedNetwork } from "./types.ts";
import type { HostLinks } from "./veth.ts";

/** Drivers that put containers behind no bridge of this host. */
const UNBRIDGED: ReadonlySet<string> = new Set(["host", "null", "none", "macvlan", "ipvlan", "overlay"]);

/**
 * Name of the network's bridge, or an empty string when it has none here. The name is Docker's by option or by rule;
 * where no such bridge exists (Podman numbers its bridges), it is the one that carries the network's gateway address.
 */
export function bridgeOf(network: NetworkDetail, host: HostLinks): string {
  if (UNBRIDGED.has(network.driver)) return "";
  const named = [
    network.options["com.docker.network.bridge.name"] ?? "",
    network.name === "bridge" ? "docker0" : "",
    network.name === "docker_gwbridge" ? network.name : "",
    `br-${network.id.slice(0, 12)}`,
  ];
  for (const name of named) if (name !== "" && host.bridge(name) !== undefined) return name;
  const subnets = network.subnets.map(parsePrefix).filter((prefix) => prefix !== null);
  for (const bridge of host.bridges()) {
    for (const text of bridge.addresses) {
      const address = parseAddress(text.split("/")[0]!);
      if (address === null) continue;
      const inside = subnets.some(
        (prefix) => prefix.bytes.length === address.length && prefixContains(prefix, address),
      );
      if (inside) return bridge.name;
    }
  }
  return "";
}

/** The networks that have a bridge here, in the order of their names. */
export function guardedNetworks(networks: Iterable<NetworkDetail>, host: HostLinks): GuardedNetwork[] {
  const guarded: GuardedNetwork[] = [];
  for (const network of networks) {
    const bridge = bridgeOf(network, host);
    if (bridge === "") continue;
    guarded.push({ id: network.id, name: network.name, bridge, subnets: network.subnets });
  }
  return guarded.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : a.id < b.id ? -1 : 1));
}
