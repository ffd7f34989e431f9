/**
 * Raw and packet sockets as the kernel lists them: /proc/PID/net/raw, raw6 and packet of a process in the namespace. Cheap
 * and certain, but blind to what is closed before the next look. (sock_diag has no raw sockets where INET_RAW_DIAG is not
 * built in, as it often is not.)
 */
import { readFileSync } from "node:fs";
import { systemCode } from "../../errors.ts";

export interface RawTableEntry {
  readonly socket: "raw" | "packet";
  /** IP protocol number, or EtherType of a packet socket. */
  readonly protocol: number;
  readonly inode: number;
}

/** Text of one table of a process's namespace; empty when there is none. */
export type ReadTable = (pid: number, table: "raw" | "raw6" | "packet") => string;

export function readRawTables(pid: number, read: ReadTable = readProc): RawTableEntry[] {
  const found: RawTableEntry[] = [];
  // "sl local_address rem_address st tx_queue:rx_queue tr:when retrnsmt uid timeout inode …" (net/ipv4/raw.c); the port of
  // the local address is the protocol.
  for (const table of ["raw", "raw6"] as const) {
    for (const fields of rows(read(pid, table))) {
      const protocol = Number.parseInt(fields[1]?.split(":")[1] ?? "", 16);
      const inode = Number(fields[9]);
      if (Number.isInteger(protocol) && inode > 0) found.push({ socket: "raw", protocol, inode });
    }
  }
  // "sk RefCnt Type Proto Iface R Rmem User Inode" (net/packet/af_packet.c)
  for (const fields of rows(read(pid, "packet"))) {
    const protocol = Number.parseInt(fields[3] ?? "", 16);
    const inode = Number(fields[8]);
    if (Number.isInteger(protocol) && inode > 0) found.push({ socket: "packet", protocol, inode });
  }
  return found;
}

/** Fields of each line but the first, which names them. */
function rows(text: string): string[][] {
  return text
    .split("\n")
    .slice(1)
    .filter((line) => line !== "")
    .map((line) => line.trim().split(/\s+/));
}

function readProc(pid: number, table: string): string {
  try {
    return readFileSync(`/proc/${pid}/net/${table}`, "utf8");
  } catch (error) {
    if (systemCode(error) === "") throw error;
    return "";
  }
}
