/**
 * Lookups over TCP (RFC 7766): many on one connection, answered as answers come. A connection is known by the bridge that
 * owns its local address and by its peer's address; connections per peer, what is under way on one, and how long it may
 * be silent are bounded.
 */
import { createServer, type Server, type Socket } from "node:net";
import { parseAddress } from "../address.ts";
import type { Clock } from "../clock.ts";
import type { Asker, Origin } from "./lookup.ts";
import { Frames, frame } from "./stream.ts";

/** Lookups under way on one connection before we stop reading from it. */
const PIPELINE = 64;
/** Bytes of replies that a peer may leave unread before its connection is ended. */
const UNREAD = 256 * 1024;
/** Connections of all peers. */
const CONNECTIONS = 4096;

export interface TcpOptions {
  readonly clock: Clock;
  readonly connectionsPerPeer: number;
  /** Milliseconds. */
  readonly idleTimeout: number;
  /** Interface index of the guarded bridge that owns the address, 0 for none. */
  readonly bridgeOf: (address: Uint8Array) => number;
  /** One message; the callee answers through `connection`, at once or later. */
  readonly onMessage: (message: Buffer, connection: TcpConnection) => void;
}

export interface TcpStats {
  connections: number;
  refusedConnections: number;
}

export class TcpFront {
  readonly stats: TcpStats = { connections: 0, refusedConnections: 0 };
  readonly #options: TcpOptions;
  readonly #servers: Server[] = [];
  readonly #connections = new Set<TcpConnection>();
  readonly #perPeer = new Map<string, number>();
  readonly #sweeping: { cancel(): void };

  constructor(options: TcpOptions) {
    this.#options = options;
    const period = Math.max(Math.min(options.idleTimeout / 4, 1000), 10);
    this.#sweeping = options.clock.every(period, () => this.#sweep());
  }

  /** Listens; rejects with the system's error. */
  listen(where: { host: string; port: number; ipv6Only?: boolean } | { fd: number }): Promise<void> {
    const server = createServer({ noDelay: true }, (socket) => this.#accept(socket));
    this.#servers.push(server);
    return new Promise((resolve, reject) => {
      server.once("error", reject);
      server.listen(where, () => {
        server.off("error", reject);
        // Running out of descriptors while accepting: those who wait are accepted later.
        server.on("error", () => {
          this.stats.refusedConnections++;
        });
        resolve();
      });
    });
  }

  /** Ends the connections of a peer. */
  drop(source: string): void {
    for (const connection of this.#connections) if (connection.source === source) connection.end();
  }

  async close(): Promise<void> {
    this.#sweeping.cancel();
    for (const connection of this.#connections) connection.end();
    await Promise.all(
      this.#servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve()))),
    );
  }

  #accept(socket: Socket): void {
    socket.on("error", () => socket.destroy());
    const source = withoutZone(socket.remoteAddress);
    const address = parseAddress(source);
    const local = parseAddress(withoutZone(socket.localAddress));
    const bridge = local === null ? 0 : this.#options.bridgeOf(local);
    const open = this.#perPeer.get(source) ?? 0;
    const full = open >= this.#options.connectionsPerPeer || this.#connections.size >= CONNECTIONS;
    if (address === null || bridge === 0 || full) {
      this.stats.refusedConnections++;
      socket.destroy();
      return;
    }
    this.stats.connections++;
    this.#perPeer.set(source, open + 1);
    const connection = new TcpConnection(socket, address, source, bridge, this.#options);
    this.#connections.add(connection);
    socket.on("close", () => {
      this.#connections.delete(connection);
      const left = (this.#perPeer.get(source) ?? 1) - 1;
      if (left > 0) this.#perPeer.set(source, left);
      else this.#perPeer.delete(source);
    });
  }

  #sweep(): void {
    const oldest = this.#options.clock.monotonic() - this.#options.idleTimeout;
    for (const connection of this.#connections) if (connection.lastUsed <= oldest) connection.end();
  }
}

export class TcpConnection implements Origin {
  readonly datagram = false;
  readonly address: Uint8Array;
  readonly source: string;
  readonly interfaceIndex: number;
  /** Milliseconds of the monotonic clock. */
  lastUsed: number;
  readonly #socket: Socket;
  readonly #clock: Clock;
  #under = 0;

  constructor(socket: Socket, address: Uint8Array, source: string, bridge: number, options: TcpOptions) {
    this.#socket = socket;
    this.#clock = options.clock;
    this.address = address;
    this.source = source;
    this.interfaceIndex = bridge;
    this.lastUsed = options.clock.monotonic();
    const frames = new Frames();
    socket.on("data", (segment: Buffer) => {
      frames.push(segment, (message) => {
        // Only a whole message counts as use: a peer that sends byte by byte stays idle.
        this.lastUsed = this.#clock.monotonic();
        if (!socket.destroyed) options.onMessage(message, this);
      });
    });
  }

  /** Sends a reply made at once. */
  reply(message: Uint8Array, length: number): void {
    if (this.#socket.destroyed) return;
    this.lastUsed = this.#clock.monotonic();
    this.#socket.write(frame(message, length));
    if (this.#socket.writableLength > UNREAD) this.end();
  }

  keep(): Asker {
    if (++this.#under >= PIPELINE) this.#socket.pause();
    let open = true;
    const done = (): void => {
      if (!open) return;
      open = false;
      this.#under--;
      this.#socket.resume();
    };
    return {
      datagram: false,
      send: (message, length) => {
        done();
        this.reply(message, length);
      },
      release: done,
    };
  }

  end(): void {
    this.#socket.destroy();
  }
}

function withoutZone(address: string | undefined): string {
  return address?.replace(/%.*$/, "") ?? "";
}
