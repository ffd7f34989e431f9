/**
 * The in-memory twin of the addon, for tests: no kernel, no privileges, every effect inspectable, time by a Clock.
 *
 * ```ts
 * const fake = createFakeNative();
 * startMyPart(fake);                                    // it is a Native
 *
 * const [id] = fake.queue(5303).deliver({ payload: ipv4Bytes, physInDevice: 7 });   // callback runs inside
 * fake.queue(5303).verdictOf(id);                       // { id, code: NF.REPEAT, mark: 0x10000 } or undefined: held
 *
 * fake.network.onSend = (datagram) => { … };            // play the upstream server; answer with receive()
 * fake.network.receive({ from, to, bytes, interface: 3 });
 * fake.network.sent;                                    // everything that left
 *
 * fake.setLinks([…]);                                   // watchers are told in a microtask, once
 * fake.createIpset("tm-blocked", { family: 4, type: "hash:ip", timeout: 0 });
 * fake.ipsetEntries("tm-blocked");                      // what has not expired by the clock
 * fake.flows.push({ source: "172.17.0.2", destination: "198.51.100.7", mark: 0x10000 });
 * fake.setListeners("/proc/7/ns/net", [{ protocol: 6, address: "::", port: 80, inode: 4711, uid: 0 }]);
 * fake.makeReadable(descriptor);                        // calls who watches it
 * fake.calls;                                           // ["conntrackDelete", "172.17.0.2"], …
 * fake.failNext("ipsetAdd", new TidesmanError(…));      // the next call throws it
 * ```
 */
import { formatAddress, parseAddress, parsePrefix } from "../address.ts";
import type { Clock } from "../clock.ts";
import { systemClock } from "../clock.ts";
import { TidesmanError } from "../errors.ts";
import { FakeArena, FakeNetwork } from "./fake-arena.ts";
import { FakeQueue } from "./fake-queue.ts";
import {
  checkAddress,
  checkDescriptor,
  checkFlows,
  checkIndex,
  checkMark,
  checkPacketQueueOptions,
  checkPort,
  checkTimeout,
  checkUdpArenaOptions,
} from "./options.ts";
import type { Link, Native, PacketQueue, PacketQueueOptions, UdpArena, UdpArenaOptions } from "./types.ts";
import { FLOW, FLOW_STATE, LISTENER } from "./types.ts";

export interface FakeIpsetOptions {
  readonly family: 4 | 6;
  readonly type: "hash:ip" | "hash:net";
  /** Default seconds (0: for ever) of a set that has timeouts; absent: the set has none. */
  readonly timeout?: number;
}

/** A conntrack entry: addresses and destination port of its original direction, and its mark. */
export interface FakeFlow {
  readonly source: string;
  readonly destination: string;
  readonly port?: number;
  mark: number;
  /** For `conntrackStates`, which finds only entries that have the first two. */
  readonly protocol?: number;
  readonly sourcePort?: number;
  readonly answered?: boolean;
  /** Where NAT leads it; absent: to its destination. */
  readonly translated?: { readonly address: string; readonly port: number };
}

/** A listening socket; its family is that of its address. */
export interface FakeListener {
  readonly protocol: 6 | 17;
  readonly address: string;
  readonly port: number;
  readonly inode: number;
  readonly uid: number;
}

interface FakeIpset {
  readonly options: FakeIpsetOptions;
  /** Entry to the millisecond (monotonic) at which it ends; Infinity: never. */
  readonly entries: Map<string, number>;
}

export class FakeNative implements Native {
  readonly network = new FakeNetwork();
  readonly arenas: FakeArena[] = [];
  readonly flows: FakeFlow[] = [];
  /** TCP sockets in each network namespace; what `resetConnections` destroys. */
  readonly connections = new Map<string, number>();
  /** Calls of the single-shot operations, in order: name, then arguments. */
  readonly calls: (readonly [keyof Native, ...(string | number | undefined)[]])[] = [];
  readonly #clock: Clock;
  readonly #queues = new Map<number, FakeQueue>();
  readonly #links = new Map<string, readonly Link[]>();
  readonly #watchers = new Set<() => void>();
  readonly #ipsets = new Map<string, FakeIpset>();
  readonly #listeners = new Map<string, readonly FakeListener[]>();
  readonly #readers = new Set<{ readonly descriptor: number; readonly onReadable: () => void }>();
  readonly #failures = new Map<keyof Native, Error>();
  #changed = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  // ---------------------------------------------------------------------------------------------- for tests

  /** The open queue of that number. */
  queue(number: number): FakeQueue {
    const queue = this.#queues.get(number);
    if (queue === undefined) throw new Error(`nothing has opened fake queue ${number}`);
    return queue;
  }

  /** Sets the interfaces of our own namespace, or of the one at that path. */
  setLinks(links: readonly Link[], namespace = ""): void {
    this.#links.set(namespace, links);
    if (namespace !== "" || this.#changed) return;
    this.#changed = true;
    queueMicrotask(() => {
      this.#changed = false;
      for (const watcher of this.#watchers) watcher();
    });
  }

  /** Sets the listening sockets of the namespace at that path. */
  setListeners(namespace: string, listeners: readonly FakeListener[]): void {
    this.#listeners.set(namespace, listeners);
  }

  /** Calls back who watches the descriptor, at once. */
  makeReadable(descriptor: number): void {
    for (const reader of [...this.#readers]) if (reader.descriptor === descriptor) reader.onReadable();
  }

  createIpset(name: string, options: FakeIpsetOptions): void {
    this.#ipsets.set(name, { options, entries: new Map() });
  }

  /** Entries that have not expired. */
  ipsetEntries(name: string): string[] {
    const { entries } = this.#ipset(name);
    const now = this.#clock.monotonic();
    for (const [entry, end] of entries) if (end <= now) entries.delete(entry);
    return [...entries.keys()];
  }

  /** The next call of `operation` throws `error`. */
  failNext(operation: keyof Native, error: Error): void {
    this.#failures.set(operation, error);
  }

  // ---------------------------------------------------------------------------------------------- Native

  openPacketQueue(options: PacketQueueOptions, onBatch: (count: number) => void): PacketQueue {
    checkPacketQueueOptions(options);
    this.#fail("openPacketQueue");
    if (this.#queues.has(options.queue)) {
      throw new TidesmanError(
        "TM_NATIVE_QUEUE_TAKEN",
        `packet queue ${options.queue} is taken by another process`,
      );
    }
    const queue = new FakeQueue(options, onBatch, () => this.#queues.delete(options.queue));
    this.#queues.set(options.queue, queue);
    return queue;
  }

  openUdpArena(options: UdpArenaOptions, onBatch: (socket: number, count: number) => void): UdpArena {
    checkUdpArenaOptions(options);
    this.#fail("openUdpArena");
    const arena = new FakeArena(options, onBatch, this.network);
    this.arenas.push(arena);
    return arena;
  }

  links(namespace?: string): readonly Link[] {
    this.#fail("links");
    const links = this.#links.get(namespace ?? "");
    if (links === undefined && namespace !== undefined) throw noNamespace(namespace);
    return links ?? [];
  }

  setLink(index: number, up: boolean): void {
    checkIndex(index);
    this.#record("setLink", index, up ? 1 : 0);
    const links = this.#links.get("") ?? [];
    if (links.every((link) => link.index !== index)) {
      throw new TidesmanError("TM_NATIVE_SYSCALL", `there is no network interface ${index}: ENODEV`);
    }
    this.setLinks(links.map((link) => (link.index === index ? { ...link, up } : link)));
  }

  watchLinks(onChange: () => void): () => void {
    this.#fail("watchLinks");
    const watcher = (): void => onChange();
    this.#watchers.add(watcher);
    return () => {
      this.#watchers.delete(watcher);
    };
  }

  ipsetAdd(set: string, entry: string, timeout?: number): void {
    this.#record("ipsetAdd", set, entry, timeout);
    checkTimeout(timeout);
    const ipset = this.#ipset(set);
    if (timeout !== undefined && ipset.options.timeout === undefined) {
      throw ipsetError(set, entry, "IPSET_ERR_TIMEOUT", "the set was made without timeouts");
    }
    const seconds = timeout ?? ipset.options.timeout ?? 0;
    const end = seconds === 0 ? Number.POSITIVE_INFINITY : this.#clock.monotonic() + seconds * 1000;
    ipset.entries.set(canonical(set, entry, ipset.options), end);
  }

  ipsetDelete(set: string, entry: string): void {
    this.#record("ipsetDelete", set, entry);
    const ipset = this.#ipset(set);
    ipset.entries.delete(canonical(set, entry, ipset.options));
  }

  conntrackDelete(address: string, port = 0): number {
    checkAddress(address);
    checkPort(port);
    this.#record("conntrackDelete", ...(port === 0 ? [address] : [address, port]));
    const meant = (flow: FakeFlow): boolean =>
      port === 0
        ? flow.source === address || flow.destination === address
        : flow.source === address && flow.port === port;
    const kept = this.flows.filter((flow) => !meant(flow));
    const deleted = this.flows.length - kept.length;
    this.flows.splice(0, this.flows.length, ...kept);
    return deleted;
  }

  conntrackMark(address: string, mark: number, mask: number): number {
    checkAddress(address);
    checkMark(mark, mask);
    this.#record("conntrackMark", address, mark, mask);
    const found = this.flows.filter((flow) => flow.source === address);
    for (const flow of found) flow.mark = ((flow.mark & ~mask) | (mark & mask)) >>> 0;
    return found.length;
  }

  conntrackStates(flows: Uint8Array, count: number): void {
    checkFlows(flows, count);
    this.#fail("conntrackStates");
    const view = new DataView(flows.buffer, flows.byteOffset, flows.byteLength);
    for (let row = 0; row < count * FLOW.STRIDE; row += FLOW.STRIDE) {
      const length = flows[row + FLOW.FAMILY] === 4 ? 4 : 16;
      const source = formatAddress(flows, row + FLOW.SOURCE, length);
      const destination = formatAddress(flows, row + FLOW.DESTINATION, length);
      const found = this.flows.find(
        (flow) =>
          flow.source === source &&
          flow.destination === destination &&
          flow.protocol === flows[row + FLOW.PROTOCOL] &&
          flow.sourcePort === view.getUint16(row + FLOW.SOURCE_PORT) &&
          flow.port === view.getUint16(row + FLOW.PORT),
      );
      const there = found?.answered === true ? FLOW_STATE.ANSWERED : FLOW_STATE.UNANSWERED;
      flows[row + FLOW.STATE] = found === undefined ? FLOW_STATE.GONE : there;
      if (found === undefined) continue;
      const { address, port } = found.translated ?? { address: destination, port: found.port ?? 0 };
      flows.set(parseAddress(address) ?? [], row + FLOW.TRANSLATED);
      view.setUint16(row + FLOW.TRANSLATED_PORT, port);
    }
  }

  resetConnections(namespace: string): number {
    this.#record("resetConnections", namespace);
    const destroyed = this.connections.get(namespace);
    if (destroyed === undefined) throw noNamespace(namespace);
    this.connections.set(namespace, 0);
    return destroyed;
  }

  listeners(namespace: string): Uint32Array {
    if (namespace === "") throw new RangeError("the path of the network namespace is empty");
    this.#fail("listeners");
    const listeners = this.#listeners.get(namespace);
    if (listeners === undefined) throw noNamespace(namespace);
    const rows = new Uint32Array(listeners.length * LISTENER.STRIDE);
    const bytes = new Uint8Array(rows.buffer);
    listeners.forEach(({ protocol, address, port, inode, uid }, index) => {
      const parsed = parseAddress(address);
      if (parsed === null) throw new RangeError(`\`${address}\` is not an address`);
      const row = index * LISTENER.STRIDE;
      rows.set([protocol, parsed.length === 4 ? 4 : 6, port, inode, uid], row);
      bytes.set(parsed, (row + LISTENER.ADDRESS) * 4);
    });
    return rows;
  }

  watchReadable(descriptor: number, onReadable: () => void): () => void {
    checkDescriptor(descriptor);
    this.#fail("watchReadable");
    const reader = { descriptor, onReadable };
    this.#readers.add(reader);
    return () => {
      this.#readers.delete(reader);
    };
  }

  #ipset(name: string): FakeIpset {
    const ipset = this.#ipsets.get(name);
    if (ipset === undefined) throw ipsetError(name, "", "ENOENT", "there is no such set");
    return ipset;
  }

  #record(operation: keyof Native, ...values: readonly (string | number | undefined)[]): void {
    this.calls.push([operation, ...values]);
    this.#fail(operation);
  }

  #fail(operation: keyof Native): void {
    const error = this.#failures.get(operation);
    this.#failures.delete(operation);
    if (error !== undefined) throw error;
  }
}

/** A Native without a kernel. `clock` ends the entries of ipsets. */
export function createFakeNative(clock: Clock = systemClock): FakeNative {
  return new FakeNative(clock);
}

/** The entry as the kernel would list it: host bits cleared, no length when it is a single address. */
function canonical(set: string, entry: string, options: FakeIpsetOptions): string {
  const prefix = parsePrefix(entry);
  if (prefix === null) throw ipsetError(set, entry, "EINVAL", "it is neither an address nor a prefix");
  const bits = options.family === 4 ? 32 : 128;
  if (prefix.bytes.length * 8 !== bits) {
    throw ipsetError(set, entry, "IPSET_ERR_PROTOCOL", `the set holds IPv${options.family}`);
  }
  if (prefix.length === 0) throw ipsetError(set, entry, "IPSET_ERR_INVALID_CIDR", "a prefix of length 0");
  const address = formatAddress(prefix.bytes);
  return prefix.length === bits ? address : `${address}/${prefix.length}`;
}

function ipsetError(set: string, entry: string, name: string, meaning: string): TidesmanError {
  return new TidesmanError(
    "TM_NATIVE_IPSET",
    `ipset \`${set}\`${entry && ` entry \`${entry}\``}: ${name}: ${meaning}`,
  );
}

function noNamespace(path: string): TidesmanError {
  const cause = Object.assign(new Error(`ENOENT: open \`${path}\``), { code: "ENOENT" });
  return new TidesmanError("TM_NATIVE_SYSCALL", `there is no network namespace \`${path}\``, { cause });
}
