/** Where the host's own NAT leads a connection that passed: published ports, services of a cluster. */
import { formatAddress, parseAddress } from "../address.ts";
import { FLOW, FLOW_STATE, type Native } from "../native/types.ts";
import type { Finding } from "../policy/types.ts";
import { PROTOCOL } from "./parse.ts";

const PORTED: Readonly<Record<string, number>> = {
  tcp: PROTOCOL.TCP,
  udp: PROTOCOL.UDP,
  sctp: PROTOCOL.SCTP,
};

/**
 * The destination of a connection behind destination NAT, as `ADDRESS:PORT`, by connection tracking; null where it is what the
 * container asked for, or is not known: the flow has ended, has no ports, or connection tracking cannot be asked.
 */
export function translationOf(
  native: Pick<Native, "conntrackStates">,
  connection: NonNullable<Finding["connection"]>,
): string | null {
  const protocol = PORTED[connection.protocol];
  const source = parseAddress(connection.source);
  const destination = parseAddress(connection.destination);
  if (protocol === undefined || source === null || destination === null) return null;
  const row = new Uint8Array(FLOW.STRIDE);
  const view = new DataView(row.buffer);
  row[FLOW.FAMILY] = destination.length === 4 ? 4 : 6;
  row[FLOW.PROTOCOL] = protocol;
  view.setUint16(FLOW.SOURCE_PORT, connection.sourcePort);
  view.setUint16(FLOW.PORT, connection.port);
  row.set(source, FLOW.SOURCE);
  row.set(destination, FLOW.DESTINATION);
  try {
    native.conntrackStates(row, 1);
  } catch {
    return null;
  }
  const state = row[FLOW.STATE];
  if (state !== FLOW_STATE.UNANSWERED && state !== FLOW_STATE.ANSWERED) return null;
  const address = formatAddress(row, FLOW.TRANSLATED, destination.length);
  const port = view.getUint16(FLOW.TRANSLATED_PORT);
  if (address === connection.destination && port === connection.port) return null;
  return `${destination.length === 16 ? `[${address}]` : address}:${port}`;
}
