/**
 * Port scans, by the sequential hypothesis test of Jung, Paxson, Berger and Balakrishnan ("Fast portscan detection using
 * sequential hypothesis testing", 2004): who looks for services turns to many targets that do not answer, who knows them
 * does not. Every first contact of a container with a target (protocol, address, port) ends in an answer or a failure;
 * each outcome moves a walk by the logarithm of how much likelier it is for a scanner. Three walks take it: one per port
 * (many hosts: horizontal), one per host (many ports: vertical), and one per container for what has neither in common.
 * A walk never sinks below zero, so that years of good conduct do not hide a scan.
 *
 * What is not seen: scans of which more than a fifth of the targets answer, of fewer than some 26 targets, slower than one
 * probe in `rest`, with TCP segments that bear ACK or RST (they look like the rest of a forgotten connection), by ICMP, and
 * of hosts and ports at random with UDP.
 *
 * Memory of a container: its first contacts (first-contacts.ts: 256 bytes to 32 KiB) and at most `2 * walks + 1` walks of
 * about 330 bytes, which only failures make: 200 KiB at the very most, some 2 KiB for one with a hundred targets.
 */
import { formatAddress } from "../address.ts";
import { FirstContacts, hashTarget } from "./first-contacts.ts";
import { PORT_SCAN_DEFAULTS, type PortScanOptions } from "./port-scan-options.ts";
import type { Detection, Detector } from "./types.ts";
import { describeWalk, OUTCOME, type Outcome, Walk, Walks } from "./walk.ts";

/** Where a container turned to. The object and its bytes are used again for the next one: nothing of it is kept. */
export interface Target {
  /** Container id. */
  container: string;
  /** IP protocol number: TCP or UDP. */
  protocol: number;
  /** Holds the address in network order, at `offset`; `length` is 4 or 16. */
  bytes: Uint8Array;
  offset: number;
  length: number;
  port: number;
}

/** How a first contact ended. */
export interface ProbeEvent extends Target {
  outcome: Outcome;
  /** Whether the container had resolved the address from a name. */
  named: boolean;
}

export interface PortScanDetector extends Detector<ProbeEvent> {
  /**
   * Whether the container turns to that target for the first time: then, and only then, `observe` is to be told how it
   * ends. Allocates nothing for a target that is known.
   */
  isFirst(target: Target, now: number): boolean;
  readonly stats: { readonly containers: number; readonly bytes: number };
}

const UDP = 17;
const TCP = 6;
const TCP_FLAGS = { RST: 0x04, ACK: 0x10 } as const;
/** Where traceroute sends its datagrams, which nobody is to answer. */
const TRACEROUTE = { first: 33434, last: 33534 } as const;
/** Failures up to which a port or host does not yet explain an outcome by itself. */
const UNEXPLAINED = 3;
/** A scan is told again when it has grown by this factor. */
const GROWTH = 10;

/**
 * Whether a packet may be a probe. TCP that bears ACK or RST is none: late segments of connections that the kernel has
 * forgotten come here too, and a server would look like a scanner of its clients. Nor is what goes to many by design.
 */
export function mayProbe(
  protocol: number,
  tcpFlags: number,
  bytes: Uint8Array,
  offset: number,
  length: number,
): boolean {
  if (protocol !== UDP && (protocol !== TCP || (tcpFlags & (TCP_FLAGS.RST | TCP_FLAGS.ACK)) !== 0))
    return false;
  const first = bytes[offset]!;
  // Multicast, broadcast to everyone and the rest of 240.0.0.0/4; a subnet's own broadcast address is one host.
  return length === 4 ? first < 224 : first !== 0xff;
}

type Kind = "horizontalPortScan" | "verticalPortScan";

/** What was told of a container, by kind, so that a scan of a thousand ports is not a thousand findings. */
interface Told {
  /** Walks that crossed the threshold, and how many had when one was told last. */
  crossed: number;
  told: number;
  last: number;
}

interface Scanner {
  readonly contacts: FirstContacts;
  readonly ports: Walks;
  readonly hosts: Walks;
  readonly spread: Walk;
  readonly horizontalPortScan: Told;
  readonly verticalPortScan: Told;
}

interface Weights {
  readonly failure: number;
  readonly answer: number;
}

export function createPortScanDetector(options: Partial<PortScanOptions> = {}): PortScanDetector {
  return new SequentialDetector({ ...PORT_SCAN_DEFAULTS, ...options });
}

class SequentialDetector implements PortScanDetector {
  readonly #options: PortScanOptions;
  readonly #threshold: number;
  readonly #tcp: Weights;
  readonly #udp: Weights;
  readonly #scanners = new Map<string, Scanner>();

  constructor(options: PortScanOptions) {
    this.#options = options;
    this.#threshold = Math.log((1 - options.missed) / options.falseAlarm);
    this.#tcp = weights(options.tcp.benign, options.tcp.scanner);
    this.#udp = weights(options.udp.benign, options.udp.scanner);
  }

  isFirst(target: Target, now: number): boolean {
    const { bytes, offset, length, protocol, port } = target;
    const hash = hashTarget(bytes, offset, length, this.#options.seed, protocol * 0x10000 + port);
    return this.#scanner(target.container, now).contacts.add(hash, now);
  }

  observe(event: ProbeEvent, now: number): Detection | undefined {
    const { bytes, offset, length, protocol, port, outcome, named } = event;
    const scanner = this.#scanner(event.container, now);
    const portKey = protocol * 0x10000 + port;
    const hostKey = hashTarget(bytes, offset, length, this.#options.seed, 0);
    const udp = protocol === UDP;
    const { failure, answer } = udp ? this.#udp : this.#tcp;
    let onPort = scanner.ports.get(portKey, now);
    let onHost = scanner.hosts.get(hostKey, now);
    const { spread } = scanner;
    if (now - spread.last > this.#options.rest) spread.begin(now);

    if (outcome === OUTCOME.ANSWERED) {
      if (onPort?.answer(answer) === false) scanner.ports.end(portKey);
      if (onHost?.answer(answer) === false) scanner.hosts.end(hostKey);
      if (!udp && spread.targets > 0 && !spread.answer(answer)) spread.begin(now);
      return undefined;
    }

    // A name tells the host, so it excuses a search for hosts, and not one for ports.
    const share = !named ? 1 : udp ? 0 : this.#options.namedShare;
    const most = 2 * this.#threshold * this.#options.spreadFactor;
    if (share > 0) {
      onPort ??= scanner.ports.begin(portKey, now);
      if (onPort.wantsSample) onPort.samples.push(formatAddress(bytes, offset, length));
      onPort.fail(outcome, failure * share, most, now);
    }
    if (!(udp && port >= TRACEROUTE.first && port <= TRACEROUTE.last)) {
      onHost ??= scanner.hosts.begin(hostKey, now);
      if (onHost.wantsSample) onHost.samples.push(port);
      onHost.fail(outcome, failure, most, now);
    }
    if (!udp && (onPort?.targets ?? 0) <= UNEXPLAINED && (onHost?.targets ?? 0) <= UNEXPLAINED) {
      if (spread.targets === 0) spread.begin(now);
      if (spread.wantsSample) spread.samples.push(`${formatAddress(bytes, offset, length)} port ${port}`);
      spread.fail(outcome, failure * share, most, now);
    }

    const transport = udp ? "UDP" : "TCP";
    if (onHost !== undefined && this.#tells(scanner.verticalPortScan, onHost, 1, now)) {
      const host = formatAddress(bytes, offset, length);
      const others = alike(scanner.verticalPortScan, "hosts");
      return detection("verticalPortScan", host, `${onHost.targets} ports of ${host}`, onHost, now, others);
    }
    const told = scanner.horizontalPortScan;
    if (onPort !== undefined && this.#tells(told, onPort, 1, now)) {
      const subject = `${transport} port ${port}`;
      const scanned = `${subject} of ${onPort.targets} hosts`;
      return detection("horizontalPortScan", subject, scanned, onPort, now, alike(told, "ports"));
    }
    if (this.#tells(told, spread, this.#options.spreadFactor, now)) {
      const scanned = `${spread.targets} targets on changing hosts and ports`;
      return detection("horizontalPortScan", "changing hosts and ports", scanned, spread, now, "");
    }
    return undefined;
  }

  forget(container: string): void {
    this.#scanners.delete(container);
  }

  get stats(): { readonly containers: number; readonly bytes: number } {
    let bytes = 0;
    for (const { contacts } of this.#scanners.values()) bytes += contacts.bytes;
    return { containers: this.#scanners.size, bytes };
  }

  /** Whether what the walk has come to is news. */
  #tells(told: Told, walk: Walk, factor: number, now: number): boolean {
    if (walk.score < this.#threshold * factor) return false;
    if (now - told.last > this.#options.rest) told.crossed = told.told = 0;
    told.last = now;
    if (walk.told === 0) {
      walk.told = -1;
      told.crossed++;
      if (told.told > 0 && told.crossed < told.told * GROWTH) return false;
      told.told = told.crossed;
    } else if (walk.told < 0 || walk.targets < walk.told * GROWTH) {
      return false;
    }
    walk.told = walk.targets;
    return true;
  }

  #scanner(container: string, now: number): Scanner {
    let scanner = this.#scanners.get(container);
    if (scanner === undefined) {
      const { targets, remember, walks, rest, containers } = this.#options;
      if (this.#scanners.size >= containers) {
        for (const [oldest] of this.#scanners) {
          this.#scanners.delete(oldest);
          break;
        }
      }
      scanner = {
        contacts: new FirstContacts(targets, remember, now),
        ports: new Walks(walks, rest),
        hosts: new Walks(walks, rest),
        spread: new Walk().begin(now),
        horizontalPortScan: { crossed: 0, told: 0, last: now },
        verticalPortScan: { crossed: 0, told: 0, last: now },
      };
      this.#scanners.set(container, scanner);
    }
    return scanner;
  }
}

function weights(benign: number, scanner: number): Weights {
  return { failure: Math.log((1 - scanner) / (1 - benign)), answer: Math.log(scanner / benign) };
}

function alike({ crossed }: Told, what: string): string {
  return crossed > 1 ? `; ${crossed} such ${what}` : "";
}

function detection(
  attackType: Kind,
  subject: string,
  scanned: string,
  walk: Walk,
  now: number,
  others: string,
): Detection {
  const message = `scanned ${scanned} ${describeWalk(walk, now)}${others}`;
  return {
    type: "portScan",
    attackType,
    message,
    dns: null,
    connection: null,
    reasons: [{ kind: "detection", subject, message }],
  };
}
