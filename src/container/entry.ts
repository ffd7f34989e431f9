/** What the registry holds of one container, and how that becomes the plain `Container` that others see. */
import { parseAddress } from "../address.ts";
import type { ContainerSummary, Endpoint } from "./engine.ts";
import type { Container, ContainerNetwork } from "./types.ts";
import type { VethPair } from "./veth.ts";

/** A container in one network. */
export interface Attachment {
  /** Network id and name; empty for an interface that somebody else than the engine gave it. */
  readonly id: string;
  readonly name: string;
  /** Bridge of the network; empty when it has none here. */
  readonly bridge: string;
  readonly hardwareAddress: string;
  /** Addresses that the engine gave it. */
  assigned: readonly string[];
  veth: VethPair | null;
}

/**
 * `stopped`; `joining`: being started, in its networks already, and dockerd answers no inspect until it runs;
 * `running`: ran when last heard of, paused or not.
 */
export type Phase = "stopped" | "joining" | "running";

export class Entry {
  readonly id: string;
  phase: Phase = "stopped";
  /** Raised by every event about it: an answer to an older question is not believed. */
  version = 0;
  /** Facts for scopes; null until the engine told them. */
  facts: Omit<Container, "id" | "state" | "pid" | "startedAt" | "networkNamespace" | "networks"> | null =
    null;
  /** The latest row of a list, to be made into facts. */
  summary: ContainerSummary | null = null;
  /** Whether an answer about it came too late to be believed, so that it has to be asked about once more. */
  doubted = false;
  everRan = false;
  paused = false;
  pid = 0;
  startedAt = 0;
  namespacePath = "";
  /** As `Namespaces.identity` names it. */
  namespace = "";
  /** By network id, or `veth:INDEX`. */
  attachments = new Map<string, Attachment>();
  /** Networks that it joins while it is being started. */
  readonly joining = new Set<string>();
  failures = 0;
  hintedAt = Number.NEGATIVE_INFINITY;
  /** What the listener was last told. */
  published: Container | null = null;

  constructor(id: string) {
    this.id = id;
  }

  /** Whether it has interfaces of its own: not the host's, not another container's. */
  get separate(): boolean {
    const mode = this.facts?.networkMode ?? "";
    return mode !== "host" && !mode.startsWith("container:");
  }

  /** Whether the listener should know it. */
  get present(): boolean {
    if (this.facts === null) return false;
    if (this.phase === "running") return this.startedAt !== 0;
    for (const attachment of this.attachments.values()) if (attachment.assigned.length > 0) return true;
    return false;
  }

  /** Whether an interface that the engine attached to a bridge was not found on the host yet. */
  get unlocated(): boolean {
    if (this.phase === "stopped" || !this.separate) return false;
    for (const { veth, bridge } of this.attachments.values()) if (veth === null && bridge !== "") return true;
    return false;
  }

  /** It no longer runs: nothing of its life remains but the facts. */
  end(): void {
    this.phase = "stopped";
    this.paused = false;
    this.pid = 0;
    this.startedAt = 0;
    this.namespacePath = "";
    this.namespace = "";
    this.attachments.clear();
    this.joining.clear();
  }

  /** Takes the engine's word for one network; what was read of the interface is kept where it is the same one. */
  attach(endpoint: Endpoint, bridge: string): void {
    const known = this.attachments.get(endpoint.networkId);
    const same = known !== undefined && known.hardwareAddress === endpoint.hardwareAddress;
    this.attachments.set(endpoint.networkId, {
      id: endpoint.networkId,
      name: endpoint.networkName,
      bridge,
      hardwareAddress: endpoint.hardwareAddress,
      assigned: endpoint.addresses,
      veth: same ? known.veth : null,
    });
  }

  /** The host side with that index is no more. */
  detach(vethIndex: number): void {
    for (const [key, attachment] of this.attachments) {
      if (attachment.veth?.index !== vethIndex) continue;
      attachment.veth = null;
      if (key.startsWith("veth:")) this.attachments.delete(key);
    }
  }

  isAssigned(address: string): boolean {
    for (const { assigned } of this.attachments.values()) if (assigned.includes(address)) return true;
    return false;
  }

  /** The engine gave the address to another container. */
  unassign(address: string): void {
    for (const attachment of this.attachments.values()) {
      attachment.assigned = attachment.assigned.filter((each) => each !== address);
    }
  }

  /** Assigns the host's ends of its interfaces to its networks. `networkOf`: the network of a bridge. */
  place(
    pairs: readonly VethPair[],
    networkOf: (bridge: string) => { id: string; name: string } | null,
  ): void {
    const left = new Set(pairs);
    for (const [key, attachment] of this.attachments) {
      if (key.startsWith("veth:")) {
        this.attachments.delete(key);
        continue;
      }
      // The bridge cannot be forged from inside; hardware and IP addresses can.
      const pair =
        [...left].find((each) => attachment.bridge !== "" && each.bridge === attachment.bridge) ??
        [...left].find((each) => attachment.bridge === "" && isSameInterface(each, attachment));
      attachment.veth = pair ?? null;
      if (pair !== undefined) left.delete(pair);
    }
    for (const pair of left) {
      const network = networkOf(pair.bridge);
      this.attachments.set(`veth:${pair.index}`, {
        id: network?.id ?? "",
        name: network?.name ?? "",
        bridge: pair.bridge,
        hardwareAddress: pair.hardwareAddress,
        assigned: [],
        veth: pair,
      });
    }
  }

  /**
   * Plain data for others; null before the facts are known. `mayHave(address)`: whether an address that only its
   * namespace shows may count as its own.
   */
  container(blocked: boolean, mayHave: (address: string) => boolean): Container | null {
    if (this.facts === null) return null;
    const networks: ContainerNetwork[] = [];
    for (const { id, name, bridge, assigned, veth } of this.attachments.values()) {
      const addresses = new Set(assigned);
      // A container that may configure its interface could take any IPv4 address; the engine knows them all.
      for (const address of veth?.addresses ?? []) {
        if ((assigned.length === 0 || address.includes(":")) && mayHave(address)) addresses.add(address);
      }
      networks.push({
        id,
        name,
        bridge: veth?.bridge || bridge,
        vethIndex: veth?.index ?? 0,
        veth: veth?.name ?? "",
        addresses: [...addresses],
      });
    }
    let state: Container["state"] = this.everRan && this.phase === "stopped" ? "exited" : "created";
    if (this.phase === "running") state = this.paused ? "paused" : "running";
    return {
      id: this.id,
      ...this.facts,
      state: blocked ? "blocked" : state,
      pid: this.pid,
      startedAt: this.startedAt,
      networkNamespace: this.namespacePath,
      networks,
    };
  }
}

/** Whether the pair's inner side is the interface that the engine described. */
export function isSameInterface(pair: VethPair, attachment: Attachment): boolean {
  if (attachment.hardwareAddress !== "" && pair.hardwareAddress === attachment.hardwareAddress) return true;
  return attachment.assigned.some((address) => pair.addresses.includes(address));
}

/** fe80::/10 */
export function isLinkLocal(address: string): boolean {
  const bytes = parseAddress(address);
  return bytes?.length === 16 && bytes[0] === 0xfe && (bytes[1]! & 0xc0) === 0x80;
}

/** All addresses of a container. */
export function addressesOf(container: Container): string[] {
  return container.networks.flatMap((network) => network.addresses);
}
