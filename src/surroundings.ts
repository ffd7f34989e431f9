/** What surrounds the containers, worked out of the host's links and the runtime's networks. Pure. */
import type { GuardedNetwork } from "./container/types.ts";
import type { Link } from "./native/types.ts";
import type { GuardedInterface, Surroundings } from "./thread.ts";

/** Whether an iptables interface pattern (`docker0`, `br-+`) names the interface. */
export function interfaceMatches(pattern: string, name: string): boolean {
  return pattern.endsWith("+") ? name.startsWith(pattern.slice(0, -1)) : pattern === name;
}

/**
 * A link is guarded when the runtime names it as a network's bridge or a configured pattern covers it. All addresses of
 * the host and all subnets of container networks are internal: not the Internet.
 */
export function surroundingsOf(
  links: readonly Link[],
  networks: readonly GuardedNetwork[],
  patterns: readonly string[],
): Surroundings {
  const bridges = new Set(networks.map((network) => network.bridge));
  const guarded = (link: Link): boolean =>
    bridges.has(link.name) || patterns.some((pattern) => interfaceMatches(pattern, link.name));
  const interfaces: GuardedInterface[] = links.filter(guarded).map((link) => ({
    index: link.index,
    name: link.name,
    addresses: link.addresses.map(withoutPrefix),
  }));
  const internal = new Set<string>();
  for (const link of links) for (const address of link.addresses) internal.add(withoutPrefix(address));
  for (const link of links.filter(guarded)) for (const address of link.addresses) internal.add(address);
  for (const network of networks) for (const subnet of network.subnets) internal.add(subnet);
  return { interfaces, internal: [...internal] };
}

function withoutPrefix(address: string): string {
  return address.replace(/\/\d+$/, "");
}
