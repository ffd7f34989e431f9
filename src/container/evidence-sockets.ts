/**
 * The sockets of a container, from the tables of its network namespace (/proc/PID/net), with the processes that hold them.
 * In a namespace that it shares with the host only those that its own processes hold.
 */
import { formatAddress } from "../address.ts";
import type { SocketEvidence } from "./evidence.ts";
import { entries, link, PLACES, readText } from "./evidence-processes.ts";

const MAX_SOCKETS = 512;
/** Bytes of one table: about 7,000 sockets. */
const MAX_TABLE = 1 << 20;
/** Processes whose descriptors are looked at, and descriptors of each. */
const MAX_HOLDERS = 256;
const MAX_DESCRIPTORS = 1_024;

/** By number, include/net/tcp_states.h. */
const STATES = [
  "",
  "established",
  "synSent",
  "synReceived",
  "finWait1",
  "finWait2",
  "timeWait",
  "closed",
  "closeWait",
  "lastAck",
  "listen",
  "closing",
] as const;

interface Row extends Omit<SocketEvidence, "processes"> {
  readonly inode: number;
}

/** `pid`: the container's first process; `pids`: all of them. */
export function readSockets(
  pid: number,
  pids: readonly number[],
  isLate: () => boolean,
  { proc } = PLACES,
): { readonly found: readonly SocketEvidence[]; readonly omitted: number } {
  const holders = readHolders(pids, isLate, proc);
  const shared = link(`${proc}/${pid}/ns/net`) === link(`${proc}/self/ns/net`);
  const rows = TABLES.flatMap((table) => (isLate() ? [] : table(`${proc}/${pid}/net`))).filter(
    ({ inode }) => !shared || holders.has(inode),
  );
  rows.sort((a, b) => rank(a) - rank(b));
  const found = rows
    .slice(0, MAX_SOCKETS)
    .map(({ inode, ...socket }) => ({ ...socket, processes: holders.get(inode) ?? [] }));
  return { found, omitted: rows.length - found.length };
}

/** What is over is left out first. */
function rank({ protocol, state }: Row): number {
  if (protocol === "raw" || protocol === "packet") return 0;
  if (state === "listen") return 1;
  return state === "timeWait" ? 3 : 2;
}

function readHolders(
  pids: readonly number[],
  isLate: () => boolean,
  proc: string,
): ReadonlyMap<number, number[]> {
  const holders = new Map<number, number[]>();
  for (const pid of pids.slice(0, MAX_HOLDERS)) {
    if (isLate()) break;
    for (const descriptor of entries(`${proc}/${pid}/fd`).slice(0, MAX_DESCRIPTORS)) {
      const inode = Number(/^socket:\[(\d+)\]$/.exec(link(`${proc}/${pid}/fd/${descriptor}`))?.[1] ?? 0);
      if (inode === 0) continue;
      const known = holders.get(inode);
      if (known === undefined) holders.set(inode, [pid]);
      else if (!known.includes(pid)) known.push(pid);
    }
  }
  return holders;
}

const TABLES: readonly ((folder: string) => Row[])[] = [
  (folder) => [...inet(folder, "raw"), ...inet(folder, "raw6"), ...packets(folder)],
  (folder) => [...inet(folder, "tcp"), ...inet(folder, "tcp6")],
  (folder) => [...inet(folder, "udp"), ...inet(folder, "udp6")],
];

// "sl local_address rem_address st tx_queue:rx_queue tr:when retrnsmt uid timeout inode …" (net/ipv4/tcp_ipv4.c, udp.c, raw.c)
function inet(folder: string, table: "tcp" | "tcp6" | "udp" | "udp6" | "raw" | "raw6"): Row[] {
  const protocol = table.replace("6", "") as "tcp" | "udp" | "raw";
  return lines(`${folder}/${table}`).flatMap((fields): Row[] => {
    const local = endpoint(fields[1] ?? "");
    const remote = endpoint(fields[2] ?? "");
    if (local === null || remote === null) return [];
    const owner = { protocol, user: Number(fields[7]) || 0, inode: Number(fields[9]) || 0 };
    // The port of a raw socket is its protocol.
    if (protocol === "raw") {
      const what = `IP protocol ${local.port} at ${local.address}`;
      return [{ ...owner, state: null, local: what, remote: null }];
    }
    const state = Number.parseInt(fields[3] ?? "", 16);
    return [
      {
        ...owner,
        // An unconnected UDP socket is in state CLOSE.
        state: protocol === "udp" && state === 7 ? "open" : STATES[state] || null,
        local: join(local),
        remote: remote.port === 0 ? null : join(remote),
      },
    ];
  });
}

// "sk RefCnt Type Proto Iface R Rmem User Inode" (net/packet/af_packet.c)
function packets(folder: string): Row[] {
  return lines(`${folder}/packet`).map((fields) => ({
    protocol: "packet",
    state: null,
    local: `EtherType 0x${fields[3] ?? "?"}`,
    remote: null,
    user: Number(fields[7]) || 0,
    inode: Number(fields[8]) || 0,
  }));
}

/** Fields of each whole line but the first, which names them. */
function lines(path: string): string[][] {
  const text = readText(path, MAX_TABLE);
  return text
    .slice(0, text.lastIndexOf("\n") + 1)
    .split("\n")
    .slice(1)
    .filter((line) => line !== "")
    .map((line) => line.trim().split(/\s+/));
}

/** `0100007F:1F90`: words of the host's order (little-endian on all that we run on), and the port. */
function endpoint(text: string): { readonly address: string; readonly port: number } | null {
  const [, digits = "", port = ""] = /^((?:[0-9A-F]{8}){1,4}):([0-9A-F]{4})$/.exec(text) ?? [];
  if (digits.length !== 8 && digits.length !== 32) return null;
  const bytes = Buffer.from(digits, "hex").swap32();
  return { address: formatAddress(bytes), port: Number.parseInt(port, 16) };
}

function join({ address, port }: { readonly address: string; readonly port: number }): string {
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}
