/**
 * Asking the upstreams. One exchange per question under way: identical lookups join it. That is below the decision: each
 * lookup was decided before it came here, and is decided again with the answer.
 *
 * A reply is believed when it comes from the upstream asked, through the very socket asked through (of many, at random
 * ports that change), under the random id given, and repeats the question byte for byte, case included. What does not
 * fit is counted and ignored, and the wait goes on until the deadline: a forger gains nothing by being first.
 *
 * An upstream that stays silent for `retryAfter` is passed over for the next, while its late reply still counts. After a
 * few silences it rests, longer each time, and one lookup now and then finds out whether it is back.
 */
import type { Clock } from "../clock.ts";
import type { UdpSocket } from "../native/types.ts";
import { SLOT } from "../native/types.ts";
import { type Answer, parseAnswer, type TTLBounds } from "./answer.ts";
import type { Datagrams } from "./datagrams.ts";
import { CHECKING_DISABLED, DNSSEC_OK, HEADER, type QueryKey, RCODE } from "./message.ts";
import { appendOpt } from "./reply.ts";
import { UpstreamStream } from "./stream.ts";

export interface UpstreamAddress {
  /** IPv4 or IPv6; a link-local one with its `%zone`. */
  readonly address: string;
  readonly port: number;
}

/** What waits for an answer. */
export interface Waiter {
  /** Null: no upstream answered in time. */
  settle(answer: Answer | null): void;
}

export interface UpstreamStats {
  /** Questions sent, by UDP and over TCP. */
  sent: number;
  streams: number;
  answered: number;
  coalesced: number;
  /** Times an upstream was passed over because it was silent. */
  silences: number;
  /** Replies that fit no question, and replies to a question that were malformed or answered something else. */
  unasked: number;
  malformedAnswers: number;
  /** Exchanges that ended at the deadline. */
  expired: number;
}

/** Sockets per upstream: as many ports a forger must guess among, besides the id. */
const SOCKETS = 64;
const SOCKET_BUFFER = 256 * 1024;
/** How often one socket of each upstream is replaced by another at a new port, milliseconds. */
const RENEW_PERIOD = 1000;
const TICK = 20;
const SILENCES_BEFORE_REST = 3;
const FIRST_REST = 1000;
const LONGEST_REST = 30_000;
/** RFC 8767, section 5: an asker waits this long before it gets a stale answer. */
const STALE_AFTER = 1800;
const STREAM_IDLE = 10_000;

interface Upstream {
  readonly index: number;
  readonly address: UpstreamAddress;
  readonly sockets: (PooledSocket | null)[];
  renewNext: number;
  silences: number;
  restUntil: number;
  lastReply: number;
  lastSilence: number;
  stream: UpstreamStream | null;
  streamUsed: number;
  /** Exchanges on the stream, by id. */
  readonly onStream: Map<number, Exchange>;
}

interface PooledSocket {
  readonly socket: UdpSocket;
  readonly upstream: Upstream;
  used: boolean;
  /** Exchanges asked through it and not settled. */
  pending: number;
}

interface Exchange {
  readonly key: QueryKey;
  readonly text: string;
  /** Header and question of the first who asked. */
  readonly head: Uint8Array;
  readonly name: Uint8Array;
  readonly type: number;
  readonly deadline: number;
  readonly staleAt: number;
  waiters: Waiter[];
  /** `socket index << 16 | id` of every question sent by UDP. */
  readonly tickets: number[];
  current: Upstream | null;
  sentAt: number;
  retryAt: number;
  /** Upstreams asked in this round, by bit. */
  tried: number;
  /** Ask without EDNS: an upstream did not understand it (RFC 6891, section 6.2.2). */
  plain: boolean;
  failure: Answer | null;
}

export interface UpstreamOptions {
  readonly addresses: readonly UpstreamAddress[];
  readonly datagrams: Datagrams;
  readonly clock: Clock;
  readonly bounds: TTLBounds;
  /** Milliseconds. */
  readonly deadline: number;
  readonly retryAfter: number;
  readonly udpSize: number;
  readonly maxInFlight: number;
  /** A random 16-bit number. */
  readonly random: () => number;
  /** Called with every answer worth keeping, before those who wait get it. */
  readonly keep: (key: QueryKey, answer: Answer) => void;
}

export class Upstreams {
  readonly stats: UpstreamStats = {
    sent: 0,
    streams: 0,
    answered: 0,
    coalesced: 0,
    silences: 0,
    unasked: 0,
    malformedAnswers: 0,
    expired: 0,
  };
  readonly #options: UpstreamOptions;
  readonly #upstreams: readonly Upstream[];
  readonly #sockets: (PooledSocket | undefined)[] = [];
  readonly #exchanges = new Map<string, Exchange>();
  readonly #tickets = new Map<number, Exchange>();
  readonly #renewal: { cancel(): void };
  #ticking: { cancel(): void } | null = null;
  #place = 0;
  #waiting = 0;

  constructor(options: UpstreamOptions) {
    this.#options = options;
    this.#upstreams = options.addresses.slice(0, 31).map((address, index) => ({
      index,
      address,
      sockets: [],
      renewNext: 0,
      silences: 0,
      restUntil: 0,
      lastReply: 0,
      lastSilence: 0,
      stream: null,
      streamUsed: 0,
      onStream: new Map<number, Exchange>(),
    }));
    for (const upstream of this.#upstreams) {
      for (let place = 0; place < SOCKETS; place++) this.#openSocket(upstream, place);
    }
    this.#renewal = options.clock.every(RENEW_PERIOD, () => this.#renew());
  }

  /** Lookups that wait. */
  get waiting(): number {
    return this.#waiting;
  }

  /**
   * Chooses another port at random. To be called before each batch of lookups: those of one batch go out through one
   * socket of each upstream, so that their replies come in a batch too. Under light load a batch is one lookup.
   */
  changePort(): void {
    this.#place = this.#options.random() % SOCKETS;
  }

  /** Whether a socket of the arena is one of ours. */
  owns(socket: number): boolean {
    return this.#sockets[socket] !== undefined;
  }

  /**
   * Asks, or joins an exchange under way. `head`: header and question as asked, kept. `canBeStale`: an expired answer is
   * at hand. False when too many wait already.
   */
  ask(key: QueryKey, head: Uint8Array, waiter: Waiter, canBeStale: boolean): boolean {
    if (this.#waiting >= this.#options.maxInFlight) return false;
    const text = key.key.toString("latin1", 0, key.keyLength);
    this.#waiting++;
    const under = this.#exchanges.get(text);
    if (under !== undefined) {
      under.waiters.push(waiter);
      this.stats.coalesced++;
      return true;
    }
    const now = this.#options.clock.monotonic();
    const exchange: Exchange = {
      key,
      text,
      head,
      name: key.key.subarray(0, key.nameLength),
      type: key.kind >>> 8,
      deadline: now + this.#options.deadline,
      staleAt: canBeStale ? now + STALE_AFTER : Number.POSITIVE_INFINITY,
      waiters: [waiter],
      tickets: [],
      current: null,
      sentAt: now,
      retryAt: 0,
      tried: 0,
      plain: false,
      failure: null,
    };
    this.#exchanges.set(text, exchange);
    this.#askNext(exchange, now);
    this.#ticking ??= this.#options.clock.after(TICK, () => this.#tick());
    return true;
  }

  /** Datagrams from upstreams in slots `firstSlot …`. */
  receive(socket: number, firstSlot: number, count: number): void {
    const { datagrams, clock } = this.#options;
    const { memory, meta, slotSize } = datagrams;
    const pooled = this.#sockets[socket];
    if (pooled === undefined) return;
    const now = clock.monotonic();
    for (let slot = firstSlot; slot < firstSlot + count; slot++) {
      const at = slot * slotSize;
      const length = meta[slot * SLOT.STRIDE + SLOT.RECEIVED]!;
      const id = (memory[at]! << 8) | memory[at + 1]!;
      const exchange = length < HEADER ? undefined : this.#tickets.get(socket * 65536 + id);
      if (exchange === undefined) this.stats.unasked++;
      else this.#reply(exchange, pooled.upstream, memory, at, length, now, true);
    }
  }

  close(): void {
    this.#renewal.cancel();
    this.#ticking?.cancel();
    for (const upstream of this.#upstreams) {
      upstream.stream?.close();
      for (const pooled of upstream.sockets) pooled?.socket.close();
    }
    for (const exchange of [...this.#exchanges.values()]) this.#settle(exchange, null);
  }

  #reply(
    exchange: Exchange,
    upstream: Upstream,
    bytes: Uint8Array,
    at: number,
    length: number,
    now: number,
    datagram: boolean,
  ): void {
    const { head } = exchange;
    if (!answersQuestion(bytes, at, length, head)) {
      this.stats.unasked++;
      return;
    }
    upstream.lastReply = now;
    upstream.silences = 0;
    upstream.restUntil = 0;
    if (datagram && (bytes[at + 2]! & 2) !== 0) {
      this.#askOverStream(exchange, upstream, now);
      return;
    }
    const { bounds } = this.#options;
    const answer = parseAnswer(bytes, at, length, head.length, exchange.name, exchange.type, bounds);
    if (answer === null) {
      this.stats.malformedAnswers++;
      return;
    }
    if (answer.rcode === RCODE.NOERROR || answer.rcode === RCODE.NXDOMAIN) {
      this.stats.answered++;
      this.#options.keep(exchange.key, answer);
      this.#settle(exchange, answer);
      return;
    }
    if (exchange.current !== upstream) return;
    exchange.failure = answer;
    const noEdns = answer.rcode === RCODE.FORMERR || answer.rcode === RCODE.NOTIMP;
    if (noEdns && !exchange.plain) {
      exchange.plain = true;
      this.#sendTo(exchange, upstream, now);
      return;
    }
    if (!this.#askNext(exchange, now)) this.#settle(exchange, answer);
  }

  /** Sends to the next upstream of this round; false when there is none left. */
  #askNext(exchange: Exchange, now: number): boolean {
    for (;;) {
      const upstream = this.#choose(exchange, now);
      if (upstream === null) return false;
      exchange.tried |= 1 << upstream.index;
      if (this.#sendTo(exchange, upstream, now)) return true;
    }
  }

  /** The first not yet asked that does not rest, else the one whose rest ends first. */
  #choose(exchange: Exchange, now: number): Upstream | null {
    let resting: Upstream | null = null;
    for (const upstream of this.#upstreams) {
      if ((exchange.tried & (1 << upstream.index)) !== 0) continue;
      if (upstream.restUntil <= now) {
        // One lookup finds out whether it is back; the others pass it over meanwhile.
        if (upstream.silences >= SILENCES_BEFORE_REST) upstream.restUntil = now + restOf(upstream);
        return upstream;
      }
      if (resting === null || upstream.restUntil < resting.restUntil) resting = upstream;
    }
    return resting;
  }

  #sendTo(exchange: Exchange, upstream: Upstream, now: number): boolean {
    const { datagrams, random, retryAfter } = this.#options;
    exchange.current = upstream;
    exchange.sentAt = now;
    exchange.retryAt = now + retryAfter;
    const pooled = upstream.sockets[this.#place] ?? this.#openSocket(upstream, this.#place);
    if (pooled === null) return false;
    let id = random();
    while (this.#tickets.has(pooled.socket.index * 65536 + id)) id = (id + 1) & 0xffff;
    const ticket = pooled.socket.index * 65536 + id;
    this.#tickets.set(ticket, exchange);
    exchange.tickets.push(ticket);
    pooled.pending++;
    pooled.used = true;
    const slot = datagrams.slot();
    const length = this.#write(exchange, id, datagrams.memory, slot * datagrams.slotSize);
    datagrams.send(slot, pooled.socket.index, length);
    this.stats.sent++;
    return true;
  }

  /** The question as first asked, and nothing else the asker sent: no cookies, no client subnet. */
  #write(exchange: Exchange, id: number, target: Uint8Array, at: number): number {
    const { head, key } = exchange;
    target.set(head, at);
    target[at] = id >>> 8;
    target[at + 1] = id;
    target[at + 2] = 1;
    target[at + 3] = 0x20 | ((key.kind & CHECKING_DISABLED) !== 0 ? 0x10 : 0);
    target.fill(0, at + 6, at + HEADER);
    const asked = {
      end: head.length,
      type: exchange.type,
      flags: key.kind & DNSSEC_OK,
      edns: !exchange.plain,
      wantsAuthentic: true,
    };
    return appendOpt(target, at, head.length, asked, this.#options.udpSize, 0, -1);
  }

  #askOverStream(exchange: Exchange, upstream: Upstream, now: number): void {
    exchange.current = upstream;
    exchange.sentAt = now;
    exchange.retryAt = now + this.#options.retryAfter;
    upstream.stream ??= new UpstreamStream(
      upstream.address,
      (message) => this.#streamMessage(upstream, message),
      () => this.#streamEnded(upstream),
    );
    let id = this.#options.random();
    while (upstream.onStream.has(id)) id = (id + 1) & 0xffff;
    upstream.onStream.set(id, exchange);
    upstream.streamUsed = now;
    const message = new Uint8Array(exchange.head.length + 32);
    upstream.stream.send(message.subarray(0, this.#write(exchange, id, message, 0)));
    this.stats.streams++;
  }

  #streamMessage(upstream: Upstream, message: Buffer): void {
    const id = message.length < HEADER ? -1 : (message[0]! << 8) | message[1]!;
    const exchange = upstream.onStream.get(id);
    if (exchange === undefined) {
      this.stats.unasked++;
      return;
    }
    this.#reply(exchange, upstream, message, 0, message.length, this.#options.clock.monotonic(), false);
  }

  #streamEnded(upstream: Upstream): void {
    upstream.stream = null;
    const exchanges = [...upstream.onStream.values()];
    upstream.onStream.clear();
    const now = this.#options.clock.monotonic();
    for (const exchange of exchanges) {
      if (this.#exchanges.get(exchange.text) !== exchange || exchange.current !== upstream) continue;
      if (!this.#askNext(exchange, now)) this.#settle(exchange, exchange.failure);
    }
  }

  #tick(): void {
    const now = this.#options.clock.monotonic();
    this.changePort();
    for (const exchange of this.#exchanges.values()) {
      if (now >= exchange.deadline) {
        this.stats.expired++;
        this.#silent(exchange, now);
        this.#settle(exchange, exchange.failure);
      } else if (now >= exchange.retryAt) {
        this.#silent(exchange, now);
        if (this.#askNext(exchange, now)) continue;
        exchange.tried = 0;
        this.#askNext(exchange, now);
      }
      // Those who wait get what is stale; the exchange goes on and may still refresh the cache.
      if (now >= exchange.staleAt) this.#tellWaiters(exchange, null);
    }
    this.#ticking = this.#exchanges.size === 0 ? null : this.#options.clock.after(TICK, () => this.#tick());
  }

  /** The upstream said nothing to anybody since it was asked: that counts once for all who waited. */
  #silent(exchange: Exchange, now: number): void {
    const upstream = exchange.current;
    if (upstream === null || upstream.lastReply >= exchange.sentAt || upstream.lastSilence > exchange.sentAt)
      return;
    this.stats.silences++;
    upstream.silences++;
    upstream.lastSilence = now;
    if (upstream.silences >= SILENCES_BEFORE_REST) upstream.restUntil = now + restOf(upstream);
  }

  #settle(exchange: Exchange, answer: Answer | null): void {
    this.#exchanges.delete(exchange.text);
    for (const ticket of exchange.tickets) {
      this.#tickets.delete(ticket);
      const pooled = this.#sockets[Math.floor(ticket / 65536)];
      if (pooled !== undefined) pooled.pending--;
    }
    for (const upstream of this.#upstreams) {
      if (upstream.onStream.size === 0) continue;
      for (const [id, other] of upstream.onStream) if (other === exchange) upstream.onStream.delete(id);
    }
    this.#tellWaiters(exchange, answer);
  }

  #tellWaiters(exchange: Exchange, answer: Answer | null): void {
    const { waiters } = exchange;
    exchange.waiters = [];
    this.#waiting -= waiters.length;
    for (const waiter of waiters) waiter.settle(answer);
  }

  /** Opens a socket at a random port; null when there is no way to the upstream now. */
  #openSocket(upstream: Upstream, place: number): PooledSocket | null {
    const { address, port } = upstream.address;
    const family = address.includes(":") ? 6 : 4;
    try {
      const socket = this.#options.datagrams.openForUpstream({
        family,
        address: family === 4 ? "0.0.0.0" : "::",
        port: 0,
        peer: { address, port },
        buffer: SOCKET_BUFFER,
      });
      const pooled = { socket, upstream, used: false, pending: 0 };
      upstream.sockets[place] = pooled;
      this.#sockets[socket.index] = pooled;
      return pooled;
    } catch {
      // No route, or no descriptors left: the same as an upstream that is silent, and tried again like one.
      upstream.sockets[place] = null;
      return null;
    }
  }

  /** New ports, one at a time, and only where the old one was seen outside and nobody waits on it. */
  #renew(): void {
    const now = this.#options.clock.monotonic();
    for (const upstream of this.#upstreams) {
      const place = upstream.renewNext;
      upstream.renewNext = (place + 1) % SOCKETS;
      const pooled = upstream.sockets[place] ?? null;
      if (pooled === null || (pooled.used && pooled.pending === 0)) {
        if (pooled !== null) {
          this.#sockets[pooled.socket.index] = undefined;
          pooled.socket.close();
        }
        this.#openSocket(upstream, place);
      }
      if (upstream.stream === null || upstream.onStream.size > 0) continue;
      if (now - upstream.streamUsed < STREAM_IDLE) continue;
      upstream.stream.close();
      upstream.stream = null;
    }
  }
}

function restOf(upstream: Upstream): number {
  return Math.min(FIRST_REST * 2 ** (upstream.silences - SILENCES_BEFORE_REST), LONGEST_REST);
}

/** Whether the message is a response to QUERY that repeats the question of `head` byte for byte. */
function answersQuestion(bytes: Uint8Array, at: number, length: number, head: Uint8Array): boolean {
  if (length < head.length || (bytes[at + 2]! & 0xf8) !== 0x80) return false;
  if (bytes[at + 4] !== 0 || bytes[at + 5] !== 1) return false;
  for (let index = HEADER; index < head.length; index++) {
    if (bytes[at + index] !== head[index]) return false;
  }
  return true;
}
