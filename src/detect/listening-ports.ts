/**
 * Listening ports of containers: looks into each network namespace in turn and tells what listens there for the first
 * time. It never decides: the container's rule says what a listener is worth.
 *
 * A TCP socket in LISTEN is a listener. A UDP socket has no such state: one that is bound and not connected may serve, or
 * may be a client whose port the kernel chose when it first sent. So a UDP socket on a port of the ephemeral range is
 * taken for a listener only once the same socket has stood for `udpSettle`. What this means: a server that binds an
 * ephemeral port is told half a minute late, and a client that keeps one unconnected socket for so long (QUIC) is told as a
 * listener, since the kernel shows no difference; a rule can allow the range. Below the range a UDP port is told at once.
 * Namespaces whose range was set otherwise are held to the kernel's default one.
 *
 * Docker's resolver (127.0.0.11, ports at random, in every container of a user-defined network) is never told.
 *
 * Weak points, knowingly: what opens and closes between two looks is not seen, and containers that use the host's network
 * are not looked into, since their sockets are in the tables of the host.
 */
import type { Clock } from "../clock.ts";
import type { WatchedNamespace, WatchedNamespaces } from "./sockets/namespaces.ts";
import type { ProcessTable, SocketProcess } from "./sockets/processes.ts";

/** A share of the namespaces is looked into at each of the steps of an interval. */
const SCAN_STEPS = 10;
/** The kernel's default ip_local_port_range (net/ipv4/af_inet.c, inet_init_net), inclusive. */
const EPHEMERAL = { first: 32_768, last: 60_999 } as const;
/** A listener that was away so long is told again when it is back, milliseconds. */
const FORGOTTEN = 600_000;
/** Listeners told of one namespace in one look; the others follow in the next ones. */
const MAX_TOLD = 64;

/** A socket that waits for others, as the kernel lists it. */
export interface ListedSocket {
  readonly protocol: number;
  readonly address: Uint8Array;
  readonly port: number;
  readonly inode: number;
  readonly uid: number;
}

export interface Listener {
  /** Container id. */
  readonly container: string;
  /** IP protocol number: 6 or 17. */
  readonly protocol: number;
  readonly port: number;
  /** 4 or 16 bytes; all zeros: every address. */
  readonly address: Uint8Array;
  readonly uid: number;
  /** Null when no process of the namespace was found to hold it. */
  readonly process: SocketProcess | null;
  /** It was told before and stands since: `retell` was asked for. */
  readonly again: boolean;
}

export interface ListeningPortsOptions {
  readonly namespaces: WatchedNamespaces;
  /** The list of a namespace, comparable as it is (`Native.listeners`), and what it says. */
  readonly list: (namespace: string) => Uint32Array;
  readonly read: (list: Uint32Array) => readonly ListedSocket[];
  readonly processes: ProcessTable;
  readonly clock: Clock;
  /** Every namespace is looked into so often; milliseconds. */
  readonly interval: number;
  /** Milliseconds that a UDP socket on an ephemeral port has to stand. */
  readonly udpSettle: number;
  readonly onListener: (listener: Listener) => void;
  /** A namespace could not be looked into; usually it went away with its container. */
  readonly onFailure: (namespace: string, error: unknown) => void;
}

type News = ListedSocket & Pick<Listener, "again">;

/** What is known of one namespace. */
interface Sight {
  rows: Uint32Array;
  /** Whether a look may tell something although the list did not change. */
  waiting: boolean;
  /** By socket: when it was seen first. Only of those that are waited for. */
  readonly settling: Map<string, number>;
  /** By listener: when it was seen last. */
  readonly told: Map<string, number>;
}

export class ListeningPorts {
  readonly #options: ListeningPortsOptions;
  readonly #sights = new Map<number, Sight>();
  /** By namespace: listeners that are to be told again. */
  readonly #again = new Map<number, Set<string>>();
  #timer: { cancel(): void } | null = null;
  /** Namespaces of this round that were not looked into yet. */
  #due: WatchedNamespace[] = [];
  #step = 0;
  #share = 0;

  constructor(options: ListeningPortsOptions) {
    this.#options = options;
  }

  start(): void {
    const { clock, interval } = this.#options;
    this.#timer ??= clock.every(interval / SCAN_STEPS, () => this.#next());
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }

  /** Tells every listener anew, as after a change of policy. */
  retell(): void {
    for (const [inode, { told }] of this.#sights) {
      this.#again.set(inode, new Set([...(this.#again.get(inode) ?? []), ...told.keys()]));
    }
    this.#sights.clear();
  }

  /** Looks into every namespace at once. */
  scan(): void {
    this.#begin();
    this.#look(this.#due.length);
  }

  #next(): void {
    if (this.#step === 0) this.#begin();
    this.#step = (this.#step + 1) % SCAN_STEPS;
    this.#look(this.#step === 0 ? this.#due.length : this.#share);
  }

  #begin(): void {
    this.#due = this.#options.namespaces.list();
    this.#share = Math.ceil(this.#due.length / SCAN_STEPS);
    const living = new Set(this.#due.map(({ inode }) => inode));
    for (const known of [this.#sights, this.#again])
      for (const inode of known.keys()) if (!living.has(inode)) known.delete(inode);
  }

  #look(count: number): void {
    for (const namespace of this.#due.splice(0, count)) {
      let rows: Uint32Array;
      try {
        rows = this.#options.list(namespace.path);
      } catch (error) {
        this.#options.onFailure(namespace.path, error);
        continue;
      }
      this.#compare(namespace, rows);
    }
  }

  #compare(namespace: WatchedNamespace, rows: Uint32Array): void {
    const now = this.#options.clock.monotonic();
    let sight = this.#sights.get(namespace.inode);
    if (sight === undefined) {
      sight = { rows: new Uint32Array(), waiting: false, settling: new Map(), told: new Map() };
      this.#sights.set(namespace.inode, sight);
    }
    const { settling, told } = sight;
    if (!sight.waiting && isSame(sight.rows, rows)) {
      for (const key of told.keys()) told.set(key, now);
      return;
    }
    sight.rows = rows;
    sight.waiting = false;
    const news: News[] = [];
    const again = this.#again.get(namespace.inode);
    const present = new Set<string>();
    const standing = new Set<string>();
    for (const socket of this.#options.read(rows)) {
      const { protocol, address, port, inode } = socket;
      if (isEmbeddedResolver(address)) continue;
      const key = `${protocol}/${port}/${address.join(".")}`;
      present.add(key);
      const isAgain = again?.has(key) === true;
      if (told.has(key)) {
        told.set(key, now);
        continue;
      }
      if (!isAgain && isPerhapsClient(protocol, port)) {
        const since = settling.get(`${key}/${inode}`) ?? now;
        if (now - since < this.#options.udpSettle) {
          settling.set(`${key}/${inode}`, since);
          standing.add(`${key}/${inode}`);
          sight.waiting = true;
          continue;
        }
      }
      if (news.length === MAX_TOLD) {
        sight.waiting = true;
        // It keeps its time until it is told.
        standing.add(`${key}/${inode}`);
        continue;
      }
      told.set(key, now);
      again?.delete(key);
      news.push({ ...socket, again: isAgain });
    }
    // What is gone meanwhile is new when it comes back.
    for (const key of again ?? []) if (!present.has(key)) again?.delete(key);
    for (const key of settling.keys()) if (!standing.has(key)) settling.delete(key);
    for (const [key, seen] of told) {
      if (seen === now) continue;
      // It has to be looked for whether the list changes or not.
      if (now - seen >= FORGOTTEN) told.delete(key);
      else sight.waiting = true;
    }
    if (news.length > 0) this.#tell(namespace, news);
  }

  #tell(namespace: WatchedNamespace, news: readonly News[]): void {
    const { processes, namespaces, onListener } = this.#options;
    const holders = processes.holders(new Set(news.map(({ inode }) => inode)), namespace.inode);
    for (const { protocol, port, address, inode, uid, again } of news) {
      const process = holders.get(inode) ?? null;
      const owner = process === null ? null : namespaces.containerOf(process);
      // A process of the host that entered the namespace belongs to none of its containers.
      const container =
        owner !== null && namespace.containers.includes(owner) ? owner : namespace.containers[0];
      if (container === undefined) continue;
      onListener({ container, protocol, port, address, uid, process, again });
    }
  }
}

function isPerhapsClient(protocol: number, port: number): boolean {
  return protocol === 17 && port >= EPHEMERAL.first && port <= EPHEMERAL.last;
}

function isSame(one: Uint32Array, other: Uint32Array): boolean {
  return one.length === other.length && one.every((word, index) => word === other[index]);
}

/** Docker's resolver listens on this address alone (libnetwork, resolver.go). */
function isEmbeddedResolver(address: Uint8Array): boolean {
  return (
    address.length === 4 && address[0] === 127 && address[1] === 0 && address[2] === 0 && address[3] === 11
  );
}
