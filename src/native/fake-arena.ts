/** The UDP arena of the fake: datagrams go in and out as records, through one imagined network per fake. */
import { formatAddress, parseAddress } from "../address.ts";
import { TidesmanError } from "../errors.ts";
import { Failures, guardDatagrams } from "./guard.ts";
import { checkUdpSocketOptions } from "./options.ts";
import type { UdpArena, UdpArenaOptions, UdpArenaStats, UdpSocket, UdpSocketOptions } from "./types.ts";
import { SLOT } from "./types.ts";

export interface Endpoint {
  readonly address: string;
  readonly port: number;
}

/** A datagram on the imagined network. */
export interface FakeDatagram {
  readonly from: Endpoint;
  readonly to: Endpoint;
  readonly bytes: Uint8Array;
  /** Ingress interface, or the interface that a reply is bound to; 0 when none. */
  readonly interface?: number;
  /** IPv6 scope id of the far end. */
  readonly scope?: number;
  /** SO_MARK of the socket that sent it. */
  readonly mark?: number;
}

/** All sockets of one fake, and what they sent. */
export class FakeNetwork {
  /** Everything sent so far, in order. */
  readonly sent: FakeDatagram[] = [];
  /** Called for every datagram sent; a test plays the far end by calling `receive` from here. */
  onSend: (datagram: FakeDatagram) => void = () => undefined;
  readonly sockets = new Set<FakeSocket>();
  #draining = false;
  #nextPort = 32_768;

  /** Datagrams arrive. Returns how many found a socket. Inside a callback they wait for its end. */
  receive(...datagrams: readonly FakeDatagram[]): number {
    let taken = 0;
    for (const datagram of datagrams) {
      const socket = this.#socketFor(datagram);
      if (socket === undefined) continue;
      socket.inbox.push(datagram);
      taken++;
    }
    this.#drain();
    return taken;
  }

  /** The peer answers ICMP "port unreachable" to every socket connected to it. */
  refuse(peer: Endpoint): void {
    for (const socket of this.sockets) {
      if (socket.options.peer !== undefined && same(socket.options.peer, peer)) socket.refuse();
    }
  }

  bind(options: UdpSocketOptions): number {
    if (options.port === 0) return this.#nextPort++;
    for (const socket of this.sockets) {
      const overlap =
        socket.port === options.port &&
        socket.options.family === options.family &&
        (socket.options.address === options.address ||
          isAny(socket.options.address) ||
          isAny(options.address));
      if (overlap && !(options.reusePort && socket.options.reusePort)) {
        throw new TidesmanError(
          "TM_PORT_IN_USE",
          `UDP port ${options.port} on \`${options.address}\` is in use: stop what holds it, or configure another port`,
        );
      }
    }
    return options.port;
  }

  #socketFor(datagram: FakeDatagram): FakeSocket | undefined {
    const family = datagram.to.address.includes(":") ? 6 : 4;
    let best: FakeSocket | undefined;
    let bestRank = 0;
    for (const socket of this.sockets) {
      const { peer, address } = socket.options;
      if (socket.port !== datagram.to.port || socket.options.family !== family) continue;
      if (!isAny(address) && address !== datagram.to.address) continue;
      if (peer !== undefined && !same(peer, datagram.from)) continue;
      const rank = (peer === undefined ? 1 : 3) + (isAny(address) ? 0 : 1);
      if (rank > bestRank) [best, bestRank] = [socket, rank];
    }
    return best;
  }

  #drain(): void {
    if (this.#draining) return;
    this.#draining = true;
    for (;;) {
      const ready = [...this.sockets].filter((socket) => socket.inbox.length > 0);
      if (ready.length === 0) break;
      for (const socket of ready) socket.deliver();
    }
    this.#draining = false;
  }
}

class FakeSocket implements UdpSocket {
  readonly index: number;
  readonly port: number;
  readonly options: UdpSocketOptions;
  readonly inbox: FakeDatagram[] = [];
  readonly #arena: FakeArena;
  #refused = 0;

  constructor(arena: FakeArena, index: number, port: number, options: UdpSocketOptions) {
    this.#arena = arena;
    this.index = index;
    this.port = port;
    this.options = options;
  }

  get refused(): number {
    return this.#refused;
  }

  refuse(): void {
    this.#refused++;
    this.#arena.countRefused();
  }

  deliver(): void {
    this.#arena.deliver(this, this.inbox.splice(0, this.options.batch));
  }

  close(): void {
    this.#arena.release(this);
  }
}

export class FakeArena implements UdpArena {
  readonly memory: Uint8Array;
  readonly meta: Int32Array;
  readonly sends: Int32Array;
  readonly control = new Int32Array(16);
  readonly options: UdpArenaOptions;
  readonly #network: FakeNetwork;
  readonly #onBatch: (socket: number, count: number) => void;
  readonly #sockets: (FakeSocket | null)[] = [];
  readonly #words: Uint8Array;
  readonly #counts = {
    received: 0,
    sent: 0,
    batches: 0,
    truncated: 0,
    sendErrors: 0,
    refused: 0,
    callbackErrors: 0,
  };
  readonly #failures = new Failures(() => {
    this.#counts.callbackErrors++;
  });
  #closed = false;

  constructor(
    options: UdpArenaOptions,
    onBatch: (socket: number, count: number) => void,
    network: FakeNetwork,
  ) {
    this.options = options;
    this.#network = network;
    this.#onBatch = guardDatagrams(onBatch, this.#failures);
    this.memory = new Uint8Array(options.slots * options.slotSize);
    this.meta = new Int32Array(options.slots * SLOT.STRIDE);
    this.sends = new Int32Array(options.maxSends * 2);
    this.#words = new Uint8Array(this.meta.buffer);
  }

  open(options: UdpSocketOptions): UdpSocket {
    if (this.#closed) throw new Error("the arena is closed");
    checkUdpSocketOptions(options, this.options);
    this.flush();
    const port = this.#network.bind(options);
    const free = this.#sockets.indexOf(null);
    const socket = new FakeSocket(this, free < 0 ? this.#sockets.length : free, port, options);
    this.#sockets[socket.index] = socket;
    this.#network.sockets.add(socket);
    return socket;
  }

  list(slot: number, socket: number): void {
    if (this.control[0]! >= this.options.maxSends) this.flush();
    const pair = this.control[0]!;
    this.sends[pair * 2] = slot;
    this.sends[pair * 2 + 1] = socket;
    this.control[0] = pair + 1;
  }

  flush(): void {
    const listed = this.control[0]!;
    const count = Math.max(0, Math.min(listed, this.options.maxSends));
    if (listed !== count) this.#counts.sendErrors += Math.max(1, listed - count);
    this.control[0] = 0;
    for (let pair = 0; pair < count; pair++) {
      const datagram = this.#read(this.sends[pair * 2]!, this.#sockets[this.sends[pair * 2 + 1]!] ?? null);
      if (datagram === null) {
        this.#counts.sendErrors++;
        continue;
      }
      this.#counts.sent++;
      this.#network.sent.push(datagram);
      this.#network.onSend(datagram);
    }
  }

  stats(): UdpArenaStats {
    return { ...this.#counts, lastError: this.#failures.last };
  }

  close(): void {
    this.#closed = true;
    for (const socket of this.#sockets) socket?.close();
  }

  release(socket: FakeSocket): void {
    if (this.#sockets[socket.index] !== socket) return;
    this.#sockets[socket.index] = null;
    this.#network.sockets.delete(socket);
  }

  countRefused(): void {
    this.#counts.refused++;
  }

  deliver(socket: FakeSocket, datagrams: readonly FakeDatagram[]): void {
    datagrams.forEach((datagram, index) => {
      this.#write(socket.options.firstSlot + index, socket, datagram);
    });
    this.#counts.received += datagrams.length;
    this.#counts.batches++;
    this.#onBatch(socket.index, datagrams.length);
    if (!this.#closed) this.flush();
  }

  #write(slot: number, socket: FakeSocket, datagram: FakeDatagram): void {
    const row = slot * SLOT.STRIDE;
    const fits = datagram.bytes.length <= this.options.slotSize;
    if (fits) this.memory.set(datagram.bytes, slot * this.options.slotSize);
    else this.#counts.truncated++;
    this.meta.fill(0, row, row + SLOT.STRIDE);
    this.meta[row + SLOT.RECEIVED] = fits ? datagram.bytes.length : 0;
    this.meta[row + SLOT.FAMILY] = socket.options.family;
    this.meta[row + SLOT.PEER_PORT] = datagram.from.port;
    this.meta[row + SLOT.PEER_SCOPE] = datagram.scope ?? 0;
    this.#words.set(parseAddress(datagram.from.address) ?? [], (row + SLOT.PEER_ADDRESS) * 4);
    if (socket.options.peer !== undefined) return;
    this.meta[row + SLOT.INTERFACE] = datagram.interface ?? 0;
    this.#words.set(parseAddress(datagram.to.address) ?? [], (row + SLOT.LOCAL_ADDRESS) * 4);
  }

  #read(slot: number, socket: FakeSocket | null): FakeDatagram | null {
    if (socket === null || slot < 0 || slot >= this.options.slots) return null;
    const row = slot * SLOT.STRIDE;
    const length = this.meta[row + SLOT.LENGTH]!;
    if (length < 1 || length > this.options.slotSize) return null;
    const { family, peer, address, mark } = socket.options;
    const bytes = this.memory.slice(slot * this.options.slotSize, slot * this.options.slotSize + length);
    const marked = mark === undefined ? {} : { mark };
    if (peer !== undefined) return { from: { address, port: socket.port }, to: peer, bytes, ...marked };
    const port = this.meta[row + SLOT.PEER_PORT]!;
    if (this.meta[row + SLOT.FAMILY] !== family || port < 1 || port > 65_535) return null;
    const size = family === 4 ? 4 : 16;
    const local = formatAddress(this.#words, (row + SLOT.LOCAL_ADDRESS) * 4, size);
    return {
      from: { address: isAny(local) ? address : local, port: socket.port },
      to: { address: formatAddress(this.#words, (row + SLOT.PEER_ADDRESS) * 4, size), port },
      bytes,
      interface: this.meta[row + SLOT.INTERFACE]!,
      scope: this.meta[row + SLOT.PEER_SCOPE]!,
      ...marked,
    };
  }
}

function same(left: Endpoint, right: Endpoint): boolean {
  return left.address === right.address && left.port === right.port;
}

function isAny(address: string): boolean {
  return address === "0.0.0.0" || address === "::";
}
