/** One server that lookups are forwarded to: the sockets to it, whether it is worth asking, and the stream to it. */
import type { UdpSocket } from "../native/types.ts";
import type { Datagrams } from "./datagrams.ts";
import { UpstreamStream } from "./stream.ts";

export interface UpstreamAddress {
  /** IPv4 or IPv6; a link-local one with its `%zone`. */
  readonly address: string;
  readonly port: number;
}

/** Sockets per server: as many ports a forger must guess among, besides the id. */
export const SOCKETS = 64;
const SOCKET_BUFFER = 256 * 1024;
const SILENCES_BEFORE_REST = 3;
/** Milliseconds of the first rest, which doubles up to the longest. */
const FIRST_REST = 1000;
const LONGEST_REST = 30_000;
const STREAM_IDLE = 10_000;

/** A connected socket; only the server's datagrams arrive on it. */
export interface PooledSocket {
  readonly socket: UdpSocket;
  readonly server: UpstreamServer;
  /** Whether its port was ever seen outside. */
  used: boolean;
  /** Exchanges asked through it and not settled. */
  pending: number;
}

export class UpstreamServer {
  /** Its place in the order of upstreams, from 0. */
  readonly index: number;
  readonly address: UpstreamAddress;
  readonly #datagrams: Datagrams;
  /** Sockets of all servers, by number in the arena. */
  readonly #all: (PooledSocket | undefined)[];
  readonly #sockets: (PooledSocket | null)[] = [];
  #renewNext = 0;
  #silences = 0;
  #restUntil = 0;
  #lastReply = 0;
  #lastSilence = 0;
  #stream: UpstreamStream | null = null;
  #streamUsed = 0;

  constructor(
    index: number,
    address: UpstreamAddress,
    datagrams: Datagrams,
    all: (PooledSocket | undefined)[],
  ) {
    this.index = index;
    this.address = address;
    this.#datagrams = datagrams;
    this.#all = all;
    for (let place = 0; place < SOCKETS; place++) this.#open(place);
  }

  /** Milliseconds (monotonic) until which it should be passed over. */
  get restUntil(): number {
    return this.#restUntil;
  }

  /** It answered, whatever it said. */
  replied(now: number): void {
    this.#lastReply = now;
    this.#silences = 0;
    this.#restUntil = 0;
  }

  /**
   * An exchange has waited for it since `sentAt` in vain. True when that counts: it counts once for all who waited, and
   * not at all if it answered somebody meanwhile.
   */
  silent(sentAt: number, now: number): boolean {
    if (this.#lastReply >= sentAt || this.#lastSilence > sentAt) return false;
    this.#silences++;
    this.#lastSilence = now;
    if (this.#silences >= SILENCES_BEFORE_REST) this.#rest(now);
    return true;
  }

  /** It is about to be asked by one that finds out whether it is back; the others pass it over meanwhile. */
  probed(now: number): void {
    if (this.#silences >= SILENCES_BEFORE_REST) this.#rest(now);
  }

  #rest(now: number): void {
    this.#restUntil = now + Math.min(FIRST_REST * 2 ** (this.#silences - SILENCES_BEFORE_REST), LONGEST_REST);
  }

  /** The socket at a place from 0 to SOCKETS - 1; null when there is no way to the server now. */
  socket(place: number): PooledSocket | null {
    return this.#sockets[place] ?? this.#open(place);
  }

  /** Opens a socket at a random port. */
  #open(place: number): PooledSocket | null {
    const { address, port } = this.address;
    const family = address.includes(":") ? 6 : 4;
    try {
      const socket = this.#datagrams.openForUpstream({
        family,
        address: family === 4 ? "0.0.0.0" : "::",
        port: 0,
        peer: { address, port },
        buffer: SOCKET_BUFFER,
      });
      const pooled = { socket, server: this, used: false, pending: 0 };
      this.#sockets[place] = pooled;
      this.#all[socket.index] = pooled;
      return pooled;
    } catch {
      // No route, or no descriptors left: the same as a server that is silent, and tried again like one.
      this.#sockets[place] = null;
      return null;
    }
  }

  /** Exchanges on the stream, by id, belong to the caller; `onEnd` tells that none of them will be answered. */
  stream(now: number, onMessage: (message: Buffer) => void, onEnd: () => void): UpstreamStream {
    this.#streamUsed = now;
    this.#stream ??= new UpstreamStream(this.address, onMessage, () => {
      this.#stream = null;
      onEnd();
    });
    return this.#stream;
  }

  /**
   * A new port for one socket, if the old one was seen outside and nobody waits on it; and an end for a stream long idle.
   * To be called now and then.
   */
  renew(now: number, streamBusy: boolean): void {
    const place = this.#renewNext;
    this.#renewNext = (place + 1) % SOCKETS;
    const pooled = this.#sockets[place] ?? null;
    if (pooled === null) this.#open(place);
    else if (pooled.used && pooled.pending === 0) {
      this.#all[pooled.socket.index] = undefined;
      pooled.socket.close();
      this.#open(place);
    }
    if (this.#stream === null || streamBusy || now - this.#streamUsed < STREAM_IDLE) return;
    this.#stream.close();
    this.#stream = null;
  }

  close(): void {
    this.#stream?.close();
    for (const pooled of this.#sockets) pooled?.socket.close();
  }
}
