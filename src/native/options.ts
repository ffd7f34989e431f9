/** Ranges of what callers pass, checked once for the addon and for the fake alike. A caller's mistake is a RangeError. */
import { isIPv4, isIPv6 } from "node:net";
import { parseAddress } from "../address.ts";
import type { PacketQueueOptions, UdpArenaOptions, UdpSocketOptions } from "./types.ts";
import { FLOW, NF } from "./types.ts";

/** The kernel's NFQNL_MAX_COPY_RANGE: a netlink attribute of 65,535 bytes less its header. */
const MAX_COPY_RANGE = 65_531;
const MAX_INT32 = 0x7fffffff;

/** `value` when it is an integer in the range; else a RangeError that names it. */
export function integer(name: string, value: number, least: number, most: number): number {
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  throw new RangeError(`${name} must be an integer from ${least} to ${most}, not \`${String(value)}\``);
}

export function checkPacketQueueOptions(options: PacketQueueOptions): void {
  integer("queue", options.queue, 0, 65_535);
  integer("copyRange", options.copyRange, 1, MAX_COPY_RANGE);
  integer("maxLength", options.maxLength, 1, MAX_INT32);
  integer("batch", options.batch, 1, 1024);
  integer("receiveBuffer", options.receiveBuffer, 4096, 1 << 30);
  if (options.failVerdict !== NF.DROP && options.failVerdict !== NF.ACCEPT) {
    throw new RangeError(`failVerdict must be NF.DROP or NF.ACCEPT, not \`${String(options.failVerdict)}\``);
  }
}

export function checkUdpArenaOptions(options: UdpArenaOptions): void {
  integer("slots", options.slots, 1, 1 << 20);
  integer("slotSize", options.slotSize, 1, 65_536);
  integer("slots * slotSize", options.slots * options.slotSize, 1, 1 << 30);
  integer("maxSends", options.maxSends, 1, 1 << 20);
  integer("rounds", options.rounds, 1, 1024);
}

export function checkUdpSocketOptions(options: UdpSocketOptions, arena: UdpArenaOptions): void {
  integer("batch", options.batch, 1, 1024);
  integer("firstSlot", options.firstSlot, 0, arena.slots - options.batch);
  integer("port", options.port, 0, 65_535);
  integer("buffer", options.buffer, 1, 1 << 30);
  if (options.fd !== undefined) integer("fd", options.fd, 0, MAX_INT32);
  if (options.mark !== undefined) integer("mark", options.mark, 0, 0xffffffff);
  checkFamily("address", options.address, options.family);
  if (options.peer !== undefined) {
    integer("peer.port", options.peer.port, 1, 65_535);
    checkFamily("peer.address", options.peer.address, options.family);
  }
}

/** A zone (`fe80::1%eth0`) is allowed on IPv6. */
function checkFamily(name: string, address: string, family: 4 | 6): void {
  if (family !== 4 && family !== 6) throw new RangeError(`family must be 4 or 6, not \`${String(family)}\``);
  if (family === 4 ? isIPv4(address) : isIPv6(address)) return;
  throw new RangeError(`${name} must be an IPv${family} address, not \`${address}\``);
}

/** The longest timeout of an ipset entry, seconds: UINT_MAX milliseconds halved (ip_set_timeout.h). */
const MAX_TIMEOUT = 2_147_483;

export function checkTimeout(timeout: number | undefined): void {
  if (timeout !== undefined) integer("timeout", timeout, 0, MAX_TIMEOUT);
}

export function checkAddress(address: string): void {
  if (parseAddress(address) === null) throw new RangeError(`\`${address}\` is not an address`);
}

export function checkPort(port: number): void {
  integer("port", port, 0, 65_535);
}

/** Rows of FLOW that one call looks up. */
const MAX_FLOWS = 4096;

export function checkFlows(flows: Uint8Array, count: number): void {
  integer("count", count, 0, Math.min(MAX_FLOWS, Math.floor(flows.length / FLOW.STRIDE)));
  for (let row = 0; row < count * FLOW.STRIDE; row += FLOW.STRIDE) {
    const family = flows[row + FLOW.FAMILY];
    if (family !== 4 && family !== 6)
      throw new RangeError(`a flow's family must be 4 or 6, not \`${family}\``);
  }
}

export function checkMark(mark: number, mask: number): void {
  integer("mark", mark, 0, 0xffffffff);
  integer("mask", mask, 0, 0xffffffff);
}

export function checkDescriptor(descriptor: number): void {
  integer("descriptor", descriptor, 0, MAX_INT32);
}

export function checkIndex(index: number): void {
  integer("interface index", index, 1, MAX_INT32);
}
