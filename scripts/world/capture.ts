/** What passed an interface: tcpdump into a file, and a reader of that file. */
import type { ChildProcess } from "node:child_process";
import { readFileSync } from "node:fs";
import { formatAddress } from "../../src/address.ts";
import type { Namespace } from "./network.ts";
import { ended, until } from "./process.ts";

export interface SeenPacket {
  /** Milliseconds since the epoch, by the kernel's stamp. */
  readonly time: number;
  readonly source: string;
  readonly destination: string;
  /** IP protocol number; of IPv6 the first next header. */
  readonly protocol: number;
  /** 0 where the protocol has none. */
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** TCP flags octet; 0 otherwise. */
  readonly flags: number;
  /** Bytes of the whole IP packet. */
  readonly length: number;
}

export const TCP = 6;
export const UDP = 17;

/** A running tcpdump. */
export class Capture {
  readonly #child: ChildProcess;
  readonly #file: string;
  readonly #marker: ((length: number) => Promise<unknown>) | undefined;
  #markers = 0;

  private constructor(child: ChildProcess, file: string, marker?: (length: number) => Promise<unknown>) {
    this.#child = child;
    this.#file = file;
    this.#marker = marker;
  }

  /**
   * Starts to capture; resolves when the kernel delivers. `marker(length)` sends an ICMP echo of `length` payload bytes
   * past the interface; with it `settled` can tell that everything earlier is in the file.
   */
  static async start(
    namespace: Namespace,
    device: string,
    file: string,
    marker?: (length: number) => Promise<unknown>,
  ): Promise<Capture> {
    const options = ["-i", device, "-n", "-U", "--immediate-mode", "-B", "16384", "-s", "128", "-Z", "root"];
    const log = `${file}.log`;
    const child = namespace.start("tcpdump", [...options, "-w", file], log);
    await until(
      `tcpdump listens on ${device}`,
      () => readFileSync(log, "utf8").includes("listening on"),
      10_000,
      20,
    );
    return new Capture(child, file, marker);
  }

  /** What is in the file by now. */
  packets(): SeenPacket[] {
    return readCapture(readFileSync(this.#file));
  }

  /** Everything that passed before the call. */
  async settled(): Promise<SeenPacket[]> {
    if (this.#marker === undefined) throw new Error("this capture has no marker");
    // Lengths that nothing else in the lab sends.
    const length = 700 + this.#markers++;
    await this.#marker(length);
    return until("the marker packet is in the capture", () => {
      const packets = this.packets();
      return packets.some((packet) => packet.protocol === 1 && packet.length === length + 28)
        ? packets
        : undefined;
    });
  }

  async stop(): Promise<void> {
    this.#child.kill("SIGINT");
    await ended(this.#child);
  }
}

/** The IP packets of a pcap file (Ethernet, little-endian, microseconds); a record cut short at the end is left out. */
export function readCapture(file: Uint8Array): SeenPacket[] {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const packets: SeenPacket[] = [];
  if (file.length < 24) return packets;
  if (view.getUint32(0, true) !== 0xa1b2c3d4 || view.getUint32(20, true) !== 1)
    throw new Error("not the pcap expected");
  let at = 24;
  while (at + 16 <= file.length) {
    const time = view.getUint32(at, true) * 1000 + view.getUint32(at + 4, true) / 1000;
    const captured = view.getUint32(at + 8, true);
    const start = at + 16;
    if (start + captured > file.length) break;
    const packet = readPacket(view, start, captured, time);
    if (packet !== null) packets.push(packet);
    at = start + captured;
  }
  return packets;
}

function readPacket(view: DataView, start: number, captured: number, time: number): SeenPacket | null {
  const bytes = new Uint8Array(view.buffer, view.byteOffset + start, captured);
  if (captured < 34) return null;
  const type = view.getUint16(start + 12);
  const ip = 14;
  let protocol: number;
  let transport: number;
  let length: number;
  let source: string;
  let destination: string;
  let first = true;
  if (type === 0x0800) {
    protocol = bytes[ip + 9]!;
    transport = ip + (bytes[ip]! & 15) * 4;
    length = view.getUint16(start + ip + 2);
    first = (view.getUint16(start + ip + 6) & 0x1fff) === 0;
    source = formatAddress(bytes, ip + 12, 4);
    destination = formatAddress(bytes, ip + 16, 4);
  } else if (type === 0x86dd && captured >= 54) {
    protocol = bytes[ip + 6]!;
    transport = ip + 40;
    length = view.getUint16(start + ip + 4) + 40;
    source = formatAddress(bytes, ip + 8, 16);
    destination = formatAddress(bytes, ip + 24, 16);
  } else return null;
  const ports = first && (protocol === TCP || protocol === UDP) && captured >= transport + 4;
  return {
    time,
    source,
    destination,
    protocol,
    sourcePort: ports ? view.getUint16(start + transport) : 0,
    destinationPort: ports ? view.getUint16(start + transport + 2) : 0,
    flags: protocol === TCP && captured > transport + 13 ? bytes[transport + 13]! : 0,
    length,
  };
}
