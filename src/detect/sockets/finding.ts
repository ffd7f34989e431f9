/** Findings about sockets, as the audit tells them. */
import { formatAddress } from "../../address.ts";
import type { Decision, Finding } from "../../policy/types.ts";
import type { Listener } from "../listening-ports.ts";
import type { RawSocket } from "../raw-sockets.ts";

/** What was decided, in words (`describe`), and when; milliseconds since the epoch. */
export interface Told {
  readonly decision: Decision;
  readonly message: string;
  readonly time: number;
}

/** Null when nothing was found. */
export function listenerFinding(listener: Listener, told: Told): Finding | null {
  const { container, protocol, address, port, process } = listener;
  const holder = process === null ? "" : `, held by ${process.command} (pid ${process.pid})`;
  const finding = findingOf("listeningPort", container, { ...told, message: told.message + holder });
  if (finding === null) return null;
  const connection = {
    protocol: protocol === 6 ? "tcp" : "udp",
    source: "",
    sourcePort: 0,
    destination: formatAddress(address),
    port,
    names: [],
  };
  return { ...finding, connection };
}

/** Null when nothing was found. */
export function rawSocketFinding({ container }: RawSocket, told: Told): Finding | null {
  return findingOf("rawSocket", container, told);
}

function findingOf(
  type: "listeningPort" | "rawSocket",
  container: string,
  { decision, message, time }: Told,
): Finding | null {
  const { effect, attackType, rule, reasons, revision } = decision;
  if (effect === null || attackType === null) return null;
  const about = { dns: null, connection: null, reasons, revision, count: 1 };
  return { time, type, attackType, effect, container, rule, message, ...about };
}
