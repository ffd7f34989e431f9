/** Whether a packet may carry the source address it carries, given the container whose interface it came in by. */
import { formatAddress } from "../address.ts";
import type { ContainerTable, Resident } from "../container/table.ts";
import type { ParsedPacket } from "./parse.ts";

/**
 * True for the container's own addresses; for a link-local IPv6 address while none of the container's is known (the
 * kernel makes them up); and for the unspecified address on the way to a multicast or broadcast destination, which is how
 * a host without an address speaks (DHCP: RFC 2131; duplicate address detection and MLD: RFC 4862, RFC 3810).
 */
export function sourceBelongsTo(
  resident: Resident,
  table: ContainerTable,
  packet: ParsedPacket,
  bytes: Uint8Array,
): boolean {
  const { sourceOffset: source, addressLength: length } = packet;
  if (table.byAddress(bytes, source, length) === resident) return true;
  if (isUnspecified(bytes, source, length)) return isOneToMany(bytes, packet.destinationOffset, length);
  // Several containers in one network namespace have the same addresses, and the table holds each address once.
  const own = resident.container.networks.flatMap((network) => network.addresses);
  if (own.includes(formatAddress(bytes, source, length))) return true;
  return length === 16 && isLinkLocal(bytes, source) && !own.some((address) => address.startsWith("fe80:"));
}

function isUnspecified(bytes: Uint8Array, offset: number, length: number): boolean {
  for (let index = offset; index < offset + length; index++) if (bytes[index] !== 0) return false;
  return true;
}

function isOneToMany(bytes: Uint8Array, offset: number, length: number): boolean {
  if (length === 16) return bytes[offset] === 0xff;
  if (bytes[offset]! >> 4 === 14) return true;
  for (let index = offset; index < offset + 4; index++) if (bytes[index] !== 255) return false;
  return true;
}

function isLinkLocal(bytes: Uint8Array, offset: number): boolean {
  return bytes[offset] === 0xfe && (bytes[offset + 1]! & 0xc0) === 0x80;
}
