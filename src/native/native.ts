/**
 * The typed face of the addon: checks what it is given, and turns errnos into errors that say what to do. Each thread
 * (main or worker) loads its own; nothing is shared between them, and a thread that ends gives everything back.
 */
import { formatAddress, parsePrefix } from "../address.ts";
import { TidesmanError } from "../errors.ts";
import { type Addon, loadAddon } from "./addon.ts";
import { explainIpset, explainRequest } from "./diagnosis.ts";
import {
  checkAddress,
  checkDescriptor,
  checkFlows,
  checkIndex,
  checkMark,
  checkPort,
  checkTimeout,
} from "./options.ts";
import { KernelPacketQueue } from "./packet-queue.ts";
import type { Link, Native, PacketQueue, PacketQueueOptions, UdpArena, UdpArenaOptions } from "./types.ts";
import { KernelUdpArena } from "./udp-arena.ts";

/** IPSET_MAXNAMELEN less the final NUL, linux/netfilter/ipset/ip_set.h. */
const MAX_SET_NAME = 31;

class KernelNative implements Native {
  readonly #addon: Addon;
  constructor(addon: Addon) {
    this.#addon = addon;
  }

  openPacketQueue(options: PacketQueueOptions, onBatch: (count: number) => void): PacketQueue {
    return new KernelPacketQueue(this.#addon, options, onBatch);
  }

  openUdpArena(options: UdpArenaOptions, onBatch: (socket: number, count: number) => void): UdpArena {
    return new KernelUdpArena(this.#addon, options, onBatch);
  }

  links(namespace?: string): readonly Link[] {
    try {
      return this.#addon.listLinks(namespace ?? "");
    } catch (error) {
      const where = namespace === undefined ? "" : ` of \`${namespace}\``;
      throw explainRequest(error, `list the network interfaces${where}`, "rtnetlink");
    }
  }

  setLink(index: number, up: boolean): void {
    checkIndex(index);
    try {
      this.#addon.setLink(index, up);
    } catch (error) {
      throw explainRequest(error, `set the network interface ${index} ${up ? "up" : "down"}`, "rtnetlink");
    }
  }

  watchLinks(onChange: () => void): () => void {
    try {
      const watch = this.#addon.watchLinks(onChange);
      return () => this.#addon.unwatchLinks(watch);
    } catch (error) {
      throw explainRequest(error, "watch the network interfaces", "rtnetlink");
    }
  }

  ipsetAdd(set: string, entry: string, timeout?: number): void {
    checkTimeout(timeout);
    this.#changeIpset(true, set, entry, timeout);
  }

  ipsetDelete(set: string, entry: string): void {
    this.#changeIpset(false, set, entry, undefined);
  }

  conntrackDelete(address: string, port = 0): number {
    checkAddress(address);
    checkPort(port);
    try {
      return this.#addon.deleteConntrack(address, port);
    } catch (error) {
      throw explainRequest(error, `delete the connection tracking of \`${address}\``, "nf_conntrack_netlink");
    }
  }

  conntrackMark(address: string, mark: number, mask: number): number {
    checkAddress(address);
    checkMark(mark, mask);
    try {
      return this.#addon.markConntrack(address, mark, mask);
    } catch (error) {
      throw explainRequest(
        error,
        `mark the connections of \`${address}\``,
        "nf_conntrack_netlink with marks",
      );
    }
  }

  conntrackStates(flows: Uint8Array, count: number): void {
    checkFlows(flows, count);
    try {
      this.#addon.conntrackStates(flows, count);
    } catch (error) {
      throw explainRequest(error, "look up connections", "nf_conntrack_netlink");
    }
  }

  resetConnections(namespace: string): number {
    if (namespace === "") throw new RangeError("the path of the network namespace is empty");
    try {
      return this.#addon.resetConnections(namespace);
    } catch (error) {
      throw explainRequest(error, `reset the connections of \`${namespace}\``, "CONFIG_INET_DIAG_DESTROY");
    }
  }

  listeners(namespace: string): Uint32Array {
    if (namespace === "") throw new RangeError("the path of the network namespace is empty");
    try {
      return this.#addon.listListeners(namespace);
    } catch (error) {
      throw explainRequest(error, `list the listening sockets of \`${namespace}\``, "CONFIG_INET_DIAG");
    }
  }

  watchReadable(descriptor: number, onReadable: () => void): () => void {
    checkDescriptor(descriptor);
    try {
      const watch = this.#addon.watchReadable(descriptor, onReadable);
      return () => this.#addon.unwatchReadable(watch);
    } catch (error) {
      throw explainRequest(error, `watch descriptor ${descriptor}`, "epoll");
    }
  }

  #changeIpset(add: boolean, set: string, entry: string, timeout: number | undefined): void {
    const prefix = parsePrefix(entry);
    const name = Buffer.byteLength(set);
    if (prefix === null || name === 0 || name > MAX_SET_NAME || set.includes("\0")) {
      const wrong = prefix === null ? "it is neither an address nor a prefix" : "that is no name of a set";
      throw new TidesmanError("TM_NATIVE_IPSET", `ipset \`${set}\` entry \`${entry}\`: EINVAL: ${wrong}`);
    }
    try {
      this.#addon.changeIpset(
        add,
        set,
        formatAddress(prefix.bytes),
        prefix.length,
        timeout ?? 0,
        timeout !== undefined,
      );
    } catch (error) {
      throw explainIpset(error, set, entry);
    }
  }
}

/** The kernel through the addon. Throws TM_NATIVE_MISSING when it was not built; `places` overrides where it is sought. */
export function loadNative(places?: readonly string[]): Native {
  return new KernelNative(loadAddon(places));
}
