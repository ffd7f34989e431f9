/**
 * Takes a container off the network at its veths and lets its processes run on. The host's end of each is set down, so
 * that nothing passes in either direction under whatever address, and whether our rules are there or not: addresses, routes
 * and processes inside stay as they were. What runs inside cannot set the host's end up again. A container that is started
 * again has new veths.
 */
import type { Link, Native } from "../native/types.ts";
import type { Container } from "./types.ts";

/** Why its network cannot be cut at veths; null: it can. */
export function isolationGap({ networkMode, networks }: Container): string | null {
  if (networkMode === "host" || networkMode.startsWith("container:"))
    return `it has no interface of its own (network mode ${networkMode})`;
  const other = networks.find(({ vethIndex, bridge }) => vethIndex === 0 && bridge === "");
  return other === undefined ? null : `its interface in network ${other.name} has no veth on this host`;
}

/** Whether every veth of it is down. */
export function isIsolated(native: Pick<Native, "links">, container: Container): boolean {
  if (isolationGap(container) !== null) return false;
  const veths = vethsOf(native, container);
  return veths.length === container.networks.length && veths.every(({ up }) => !up);
}

/**
 * Sets its veths down. False when not all of them were found: while it is being started they may not be known yet. Throws
 * TM_NATIVE_SYSCALL.
 */
export function isolateVeths(native: Pick<Native, "links" | "setLink">, container: Container): boolean {
  const veths = vethsOf(native, container);
  for (const { index, up } of veths) if (up) native.setLink(index, false);
  return veths.length === container.networks.length;
}

/** Sets what is left of its veths up again. Throws TM_NATIVE_SYSCALL. */
export function restoreVeths(native: Pick<Native, "links" | "setLink">, container: Container): void {
  for (const { index, up } of vethsOf(native, container)) if (!up) native.setLink(index, true);
}

/** An index alone may be another interface's by now. */
function vethsOf(native: Pick<Native, "links">, { networks }: Container): readonly Link[] {
  if (networks.length === 0) return [];
  return native
    .links()
    .filter(({ index, name }) =>
      networks.some(({ vethIndex, veth }) => vethIndex === index && veth === name),
    );
}
