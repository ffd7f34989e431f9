/**
 * The DNS proxy: its sockets, and who is behind a query. Only guarded interfaces are served, so it is never an open
 * resolver; what comes in by another way is dropped and counted. Runs on the data thread's event loop and touches no
 * disk.
 */
import { formatAddress } from "../address.ts";
import type { Clock } from "../clock.ts";
import type { DnsConfig } from "../config.ts";
import type { ContainerTable, Resident } from "../container/table.ts";
import { systemCode, TidesmanError } from "../errors.ts";
import type { Native, UdpArenaStats } from "../native/types.ts";
import { SLOT } from "../native/types.ts";
import type { Finding, Observation, Policy } from "../policy/types.ts";
import { AnswerCache } from "./cache.ts";
import { DatagramOrigin } from "./datagram-origin.ts";
import { Datagrams } from "./datagrams.ts";
import { Hold } from "./hold.ts";
import type { Asker, Origin } from "./lookup.ts";
import { Provenance, type ResolvedName } from "./provenance.ts";
import { randomSeed, randomWord } from "./random.ts";
import { Resolver, type ResolveStats } from "./resolve.ts";
import { type TcpConnection, TcpFront, type TcpStats } from "./tcp.ts";
import { type UpstreamStats, Upstreams } from "./upstream.ts";
import type { UpstreamAddress } from "./upstream-server.ts";
import type { Watch } from "./watch.ts";

export interface DnsDependencies {
  readonly native: Native;
  readonly clock: Clock;
  readonly config: DnsConfig;
  /** As `upstreamsOf` gives them. */
  readonly upstreams: readonly UpstreamAddress[];
  readonly table: ContainerTable;
  /** The policy in force; each call may return a newer revision. */
  readonly policy: () => Policy;
  /** Whether the interface is a guarded container bridge. */
  readonly serves: (interfaceIndex: number) => boolean;
  /** Interface index of the guarded bridge that owns a local address (4 or 16 bytes), 0 for none: for TCP. */
  readonly bridgeAddress: (address: Uint8Array) => number;
  /** An unknown source on a container bridge asked; its lookups wait, bounded, for `containersChanged`. */
  readonly unknown: (source: string, interfaceIndex: number) => void;
  /** Effect `block`: the callee cuts the container (sets `resident.cut`), and the lookup gets no reply. */
  readonly report: (finding: Finding, resident: Resident) => void;
  readonly observe: (observation: Observation) => void;
  /** Sees the lookups of containers whose rule has a use for it; absent: nobody looks. */
  readonly watch?: Watch;
  /** Bound descriptors from the service manager, instead of sockets of our own. */
  readonly sockets?: { readonly udp: readonly number[]; readonly tcp: readonly number[] };
  /** Random 16-bit numbers; default: from the system. */
  readonly random?: () => number;
}

export interface DnsStats extends ResolveStats, UpstreamStats, TcpStats {
  /** Datagrams from interfaces that are not served, and lookups dropped because nobody knew their source in time. */
  notServed: number;
  unknownDropped: number;
  /** Throws while handling one lookup, which is then dropped, and the text of the last. */
  errors: number;
  lastError: string;
  waiting: number;
  held: number;
  cacheEntries: number;
  bindings: number;
  /** All datagrams, of askers and upstreams. */
  udp: UdpArenaStats;
}

export interface DnsServer {
  stats(): DnsStats;
  /** The table has changed: lookups that waited for their source to be known are looked at again. */
  containersChanged(): void;
  /** Drops what is bound for the container, and its connections. */
  forget(resident: Resident): void;
  /**
   * Names that the container resolved the address (4 or 16 bytes at `bytes[offset]`) from, most recent first; for the
   * start of a connection, which keeps them alive (see provenance.ts).
   */
  names(resident: Resident, bytes: Uint8Array, offset: number, length: number): readonly string[];
  /** Names that the container resolved lately, with the addresses that are still bound to them. */
  resolved(resident: Resident): readonly ResolvedName[];
  close(): Promise<void>;
}

/** Bytes asked for, each way, on the sockets that containers send to. */
const SOCKET_BUFFER = 4 * 1024 * 1024;
const HOUSEKEEPING = 250;
const PROVENANCE_SWEEP = 60_000;
const LARGEST_MESSAGE = 65_535;

/** Opens the proxy's sockets on `config.port`. Throws TM_PORT_IN_USE or TM_NOT_PERMITTED when one cannot be had. */
export async function startDns(dependencies: DnsDependencies): Promise<DnsServer> {
  const proxy = new DnsProxy(dependencies);
  try {
    await proxy.listen();
  } catch (error) {
    await proxy.close();
    throw error;
  }
  return proxy;
}

class DnsProxy implements DnsServer {
  readonly #dependencies: DnsDependencies;
  readonly #datagrams: Datagrams;
  readonly #resolver: Resolver;
  readonly #upstreams: Upstreams;
  readonly #cache: AnswerCache;
  readonly #provenance = new Provenance(randomSeed());
  readonly #hold = new Hold();
  readonly #tcp: TcpFront;
  readonly #timers: { cancel(): void }[];
  readonly #datagram: DatagramOrigin;
  /** A query over TCP or one that was held, with room for the largest reply. */
  readonly #message = new Uint8Array(LARGEST_MESSAGE + 64);
  readonly #counts = { notServed: 0, unknownDropped: 0, errors: 0, lastError: "" };

  constructor(dependencies: DnsDependencies) {
    const { native, clock, config, table, policy, report, observe } = dependencies;
    this.#dependencies = dependencies;
    this.#cache = new AnswerCache(config.cache.size, config.cache.serveStale);
    this.#datagrams = new Datagrams(
      native,
      config.udpSize,
      (socket) => this.#upstreams.owns(socket),
      (socket, firstSlot, count) => this.#batch(socket, firstSlot, count),
    );
    this.#datagram = new DatagramOrigin(this.#datagrams);
    this.#upstreams = new Upstreams({
      addresses: dependencies.upstreams,
      datagrams: this.#datagrams,
      clock,
      bounds: config.cache,
      deadline: config.deadline,
      retryAfter: config.retryAfter,
      udpSize: config.udpSize,
      maxInFlight: config.maxInFlight,
      random: dependencies.random ?? randomWord,
      keep: (key, answer, now) => this.#cache.insert(key, answer, Math.floor(now / 1000) | 0),
    });
    this.#resolver = new Resolver({
      clock,
      config,
      cache: this.#cache,
      provenance: this.#provenance,
      upstreams: this.#upstreams,
      policy,
      isCurrent: (resident) => table.byId(resident.container.id) === resident,
      report,
      observe,
      ...(dependencies.watch === undefined ? {} : { watch: dependencies.watch }),
      failed: (error) => this.#failed(error),
      seed: randomSeed(),
    });
    this.#tcp = new TcpFront({
      clock,
      connectionsPerPeer: config.tcp.connectionsPerContainer,
      idleTimeout: config.tcp.idleTimeout,
      bridgeOf: dependencies.bridgeAddress,
      onMessage: (message, connection) => this.#streamed(message, connection),
    });
    this.#timers = [
      clock.every(HOUSEKEEPING, () => {
        this.#counts.unknownDropped += this.#hold.expire(clock.monotonic());
      }),
      clock.every(PROVENANCE_SWEEP, () => this.#provenance.sweep(clock.monotonic())),
    ];
  }

  async listen(): Promise<void> {
    const { config, sockets } = this.#dependencies;
    const { port } = config;
    const handed = sockets ?? { udp: [], tcp: [] };
    if (handed.udp.length > 0) for (const fd of handed.udp) this.#adoptUdp(fd);
    else for (const family of [4, 6] as const) this.#openUdp(family);
    const places =
      handed.tcp.length > 0
        ? handed.tcp.map((fd) => ({ fd }))
        : [
            { host: "0.0.0.0", port },
            { host: "::", port, ipv6Only: true },
          ];
    for (const place of places) {
      try {
        await this.#tcp.listen(place);
      } catch (error) {
        if (hasNoIpv6(error)) continue;
        throw listenError(error, port);
      }
    }
  }

  stats(): DnsStats {
    return {
      ...this.#counts,
      ...this.#resolver.stats,
      ...this.#upstreams.stats,
      ...this.#tcp.stats,
      waiting: this.#upstreams.waiting,
      held: this.#hold.count,
      cacheEntries: this.#cache.entries,
      bindings: this.#provenance.count,
      udp: this.#datagrams.stats(),
    };
  }

  containersChanged(): void {
    const { table } = this.#dependencies;
    this.#hold.release(
      ({ address }) => table.byAddress(address, 0, address.length) !== undefined,
      ({ address, message, asker }) => {
        const resident = table.byAddress(address, 0, address.length);
        if (resident === undefined) {
          asker.release();
          return;
        }
        this.#message.set(message);
        let kept = false;
        const keep = (): Asker => {
          kept = true;
          return asker;
        };
        const origin = { datagram: asker.datagram, keep };
        const length = this.#lookup(this.#message, 0, message.length, resident, origin);
        if (length > 0) asker.send(this.#message, length);
        else if (!kept) asker.release();
      },
    );
  }

  forget(resident: Resident): void {
    this.#provenance.forget(resident);
    for (const network of resident.container.networks) {
      for (const address of network.addresses) this.#tcp.drop(address);
    }
  }

  names(resident: Resident, bytes: Uint8Array, offset: number, length: number): readonly string[] {
    return this.#provenance.names(resident, bytes, offset, length, this.#dependencies.clock.monotonic());
  }

  resolved(resident: Resident): readonly ResolvedName[] {
    return this.#provenance.held(resident, this.#dependencies.clock.monotonic());
  }

  async close(): Promise<void> {
    for (const timer of this.#timers) timer.cancel();
    this.#upstreams.close();
    await this.#tcp.close();
    this.#datagrams.close();
  }

  #batch(socket: number, firstSlot: number, count: number): void {
    if (this.#upstreams.owns(socket)) {
      this.#upstreams.receive(socket, firstSlot, count);
      return;
    }
    this.#upstreams.changePort();
    const { serves, table } = this.#dependencies;
    const { memory, meta, metaBytes, slotSize } = this.#datagrams;
    for (let slot = firstSlot; slot < firstSlot + count; slot++) {
      const row = slot * SLOT.STRIDE;
      const received = meta[row + SLOT.RECEIVED]!;
      if (!serves(meta[row + SLOT.INTERFACE]!)) {
        this.#counts.notServed++;
        continue;
      }
      const addressAt = (row + SLOT.PEER_ADDRESS) * 4;
      const addressLength = meta[row + SLOT.FAMILY] === 4 ? 4 : 16;
      const resident = table.byAddress(metaBytes, addressAt, addressLength);
      this.#datagram.slot = slot;
      this.#datagram.socket = socket;
      const at = slot * slotSize;
      if (resident === undefined) {
        const address = metaBytes.slice(addressAt, addressAt + addressLength);
        this.#wait(memory.slice(at, at + received), address, meta[row + SLOT.INTERFACE]!, this.#datagram);
        continue;
      }
      const length = this.#lookup(memory, at, received, resident, this.#datagram);
      if (length > 0) this.#datagrams.send(slot, socket, length);
    }
  }

  #streamed(message: Buffer, connection: TcpConnection): void {
    const { table } = this.#dependencies;
    const { address } = connection;
    const resident = table.byAddress(address, 0, address.length);
    if (resident === undefined) {
      this.#wait(message, address, connection.interfaceIndex, connection);
      return;
    }
    this.#upstreams.changePort();
    this.#message.set(message);
    const length = this.#lookup(this.#message, 0, message.length, resident, connection);
    if (length > 0) connection.reply(this.#message, length);
  }

  /** A throw is this lookup's failure alone: it gets no reply, as any lookup that was not decided. */
  #lookup(bytes: Uint8Array, at: number, length: number, resident: Resident, origin: Origin): number {
    try {
      return this.#resolver.lookup(bytes, at, length, resident, origin);
    } catch (error) {
      this.#failed(error);
      return 0;
    }
  }

  #failed(error: unknown): void {
    this.#counts.errors++;
    this.#counts.lastError = error instanceof Error ? (error.stack ?? error.message) : String(error);
  }

  #wait(message: Uint8Array, address: Uint8Array, interfaceIndex: number, origin: Origin): void {
    const source = formatAddress(address);
    const asker = origin.keep();
    const since = this.#dependencies.clock.monotonic();
    const { held, first } = this.#hold.add({ message, address, source, interfaceIndex, asker, since });
    if (!held) {
      this.#counts.unknownDropped++;
      asker.release();
    } else if (first) this.#dependencies.unknown(source, interfaceIndex);
  }

  #openUdp(family: 4 | 6): void {
    const { port } = this.#dependencies.config;
    const address = family === 4 ? "0.0.0.0" : "::";
    try {
      this.#datagrams.openForAskers({ family, address, port, buffer: SOCKET_BUFFER });
    } catch (error) {
      if (family === 4 || !hasNoIpv6(error)) throw error;
    }
  }

  /** A descriptor does not say its family; the wrong one is refused before anything is done with it. */
  #adoptUdp(fd: number): void {
    const { port } = this.#dependencies.config;
    const options = { port, fd, buffer: SOCKET_BUFFER };
    try {
      this.#datagrams.openForAskers({ ...options, family: 4, address: "0.0.0.0" });
    } catch {
      // Not IPv4; if it is not IPv6 either, that error says what is wrong with it.
      this.#datagrams.openForAskers({ ...options, family: 6, address: "::" });
    }
  }
}

/** A host booted without IPv6 is served over IPv4 alone. */
function hasNoIpv6(error: unknown): boolean {
  if (systemCode(error) === "EAFNOSUPPORT" || systemCode(error) === "EADDRNOTAVAIL") return true;
  return error instanceof Error && /EAFNOSUPPORT|EADDRNOTAVAIL/.test(error.message);
}

function listenError(error: unknown, port: number): unknown {
  const code = systemCode(error);
  if (code === "EADDRINUSE") {
    const advice = "stop what holds it, or set another `dns.port`";
    return new TidesmanError("TM_PORT_IN_USE", `TCP port ${port} is in use: ${advice}`, { cause: error });
  }
  if (code === "EACCES" || code === "EPERM") {
    const advice = "run as root, or set a `dns.port` above 1023";
    return new TidesmanError("TM_NOT_PERMITTED", `not permitted to listen on TCP port ${port}: ${advice}`, {
      cause: error,
    });
  }
  return error;
}
