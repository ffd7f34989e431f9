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
import { SLOT } from "../native/types.ts";
import { type Answer, parseAnswer, type TTLBounds } from "./answer.ts";
import type { Datagrams } from "./datagrams.ts";
import { Exchange, Exchanges, type Waiter } from "./exchange.ts";
import { CHECKING_DISABLED, DNSSEC_OK, HEADER, type QueryKey, RCODE } from "./message.ts";
import { appendOpt, copyBytes, EDE_NONE } from "./reply.ts";
import { type PooledSocket, SOCKETS, type UpstreamAddress, UpstreamServer } from "./upstream-server.ts";

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

/** How often each server gets a new port, milliseconds. */
const RENEW_PERIOD = 1000;
const TICK = 20;
/** RFC 8767, section 5: an asker waits this long before it gets a stale answer. */
const STALE_AFTER = 1800;

/** What our own OPT record says. */
const WITHOUT_DNSSEC = { edns: true, flags: 0 } as const;
const WITH_DNSSEC = { edns: true, flags: DNSSEC_OK } as const;

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
  /** Called with every answer worth keeping, before those who wait get it; `now` as of the clock. */
  readonly keep: (key: QueryKey, answer: Answer, now: number) => void;
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
  readonly #servers: readonly UpstreamServer[];
  /** Exchanges on the stream of each server, by id. */
  readonly #onStream: readonly Map<number, Exchange>[];
  readonly #sockets: (PooledSocket | undefined)[] = [];
  readonly #exchanges: Exchanges;
  readonly #tickets = new Map<number, Exchange>();
  readonly #renewal: { cancel(): void };
  #ticking: { cancel(): void } | null = null;
  #place = 0;
  #waiting = 0;

  constructor(options: UpstreamOptions) {
    this.#options = options;
    this.#exchanges = new Exchanges(options.maxInFlight);
    // Which of them an exchange has asked is kept in the bits of a number.
    this.#servers = options.addresses
      .slice(0, 31)
      .map((address, index) => new UpstreamServer(index, address, options.datagrams, this.#sockets));
    this.#onStream = this.#servers.map(() => new Map<number, Exchange>());
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

  /** Asks, or joins an exchange under way. False when too many wait already. */
  ask(waiter: Waiter, now: number): boolean {
    if (this.#waiting >= this.#options.maxInFlight) return false;
    this.#waiting++;
    const under = this.#exchanges.find(waiter);
    if (under !== null) {
      if (under.waiters === null) under.waiters = [waiter];
      else under.waiters.push(waiter);
      this.stats.coalesced++;
      return true;
    }
    const staleAt = waiter.canBeStale ? now + STALE_AFTER : Number.POSITIVE_INFINITY;
    const exchange = new Exchange(waiter, now, now + this.#options.deadline, staleAt);
    this.#exchanges.add(exchange);
    this.#askNext(exchange, now);
    this.#ticking ??= this.#options.clock.after(TICK, this.#tick);
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
      else this.#reply(exchange, pooled.server, memory, at, length, now, true);
    }
  }

  close(): void {
    this.#renewal.cancel();
    this.#ticking?.cancel();
    for (const server of this.#servers) server.close();
    const now = this.#options.clock.monotonic();
    for (const exchange of this.#exchanges.all()) this.#settle(exchange, null, now);
  }

  #reply(
    exchange: Exchange,
    server: UpstreamServer,
    bytes: Uint8Array,
    at: number,
    length: number,
    now: number,
    datagram: boolean,
  ): void {
    const { head } = exchange.first;
    if (!answersQuestion(bytes, at, length, head)) {
      this.stats.unasked++;
      return;
    }
    server.replied(now);
    if (datagram && (bytes[at + 2]! & 2) !== 0) {
      this.#askOverStream(exchange, server, now);
      return;
    }
    const { bounds } = this.#options;
    const { key, kind } = exchange.first;
    const answer = parseAnswer(bytes, at, length, head.length, key, kind >>> 8, bounds);
    if (answer === null) {
      this.stats.malformedAnswers++;
      return;
    }
    if (answer.rcode === RCODE.NOERROR || answer.rcode === RCODE.NXDOMAIN) {
      this.stats.answered++;
      this.#options.keep(exchange.first, answer, now);
      this.#settle(exchange, answer, now);
      return;
    }
    if (exchange.current !== server) return;
    exchange.failure = answer;
    const noEdns = answer.rcode === RCODE.FORMERR || answer.rcode === RCODE.NOTIMP;
    if (noEdns && !exchange.plain) {
      exchange.plain = true;
      this.#sendTo(exchange, server, now);
      return;
    }
    if (!this.#askNext(exchange, now)) this.#settle(exchange, answer, now);
  }

  /** Sends to the next server of this round; false when there is none left. */
  #askNext(exchange: Exchange, now: number): boolean {
    for (;;) {
      const server = this.#choose(exchange, now);
      if (server === null) return false;
      exchange.tried |= 1 << server.index;
      if (this.#sendTo(exchange, server, now)) return true;
    }
  }

  /** The first not yet asked that does not rest, else the one whose rest ends first. */
  #choose(exchange: Exchange, now: number): UpstreamServer | null {
    let resting: UpstreamServer | null = null;
    for (const server of this.#servers) {
      if ((exchange.tried & (1 << server.index)) !== 0) continue;
      if (server.restUntil <= now) {
        server.probed(now);
        return server;
      }
      if (resting === null || server.restUntil < resting.restUntil) resting = server;
    }
    return resting;
  }

  #sendTo(exchange: Exchange, server: UpstreamServer, now: number): boolean {
    const { datagrams, random, retryAfter } = this.#options;
    exchange.current = server;
    exchange.sentAt = now;
    exchange.retryAt = now + retryAfter;
    const pooled = server.socket(this.#place);
    if (pooled === null) return false;
    let id = random();
    while (this.#tickets.has(pooled.socket.index * 65536 + id)) id = (id + 1) & 0xffff;
    const ticket = pooled.socket.index * 65536 + id;
    this.#tickets.set(ticket, exchange);
    if (exchange.tickets === null) exchange.tickets = [ticket];
    else exchange.tickets.push(ticket);
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
    const { head, kind } = exchange.first;
    copyBytes(head, 0, target, at, head.length);
    target[at] = id >>> 8;
    target[at + 1] = id;
    target[at + 2] = 1;
    target[at + 3] = 0x20 | ((kind & CHECKING_DISABLED) !== 0 ? 0x10 : 0);
    for (let index = at + 6; index < at + HEADER; index++) target[index] = 0;
    if (exchange.plain) return head.length;
    const asked = kind & DNSSEC_OK ? WITH_DNSSEC : WITHOUT_DNSSEC;
    return appendOpt(target, at, head.length, asked, this.#options.udpSize, 0, EDE_NONE);
  }

  #askOverStream(exchange: Exchange, server: UpstreamServer, now: number): void {
    exchange.current = server;
    exchange.sentAt = now;
    exchange.retryAt = now + this.#options.retryAfter;
    const exchanges = this.#onStream[server.index]!;
    let id = this.#options.random();
    while (exchanges.has(id)) id = (id + 1) & 0xffff;
    exchanges.set(id, exchange);
    exchange.onStream = true;
    const stream = server.stream(
      now,
      (message) => this.#streamMessage(server, message),
      () => this.#streamEnded(server),
    );
    const message = new Uint8Array(exchange.first.head.length + 32);
    stream.send(message.subarray(0, this.#write(exchange, id, message, 0)));
    this.stats.streams++;
  }

  #streamMessage(server: UpstreamServer, message: Buffer): void {
    const id = message.length < HEADER ? -1 : (message[0]! << 8) | message[1]!;
    const exchange = this.#onStream[server.index]!.get(id);
    if (exchange === undefined) {
      this.stats.unasked++;
      return;
    }
    this.#reply(exchange, server, message, 0, message.length, this.#options.clock.monotonic(), false);
  }

  #streamEnded(server: UpstreamServer): void {
    const exchanges = [...this.#onStream[server.index]!.values()];
    this.#onStream[server.index]!.clear();
    const now = this.#options.clock.monotonic();
    for (const exchange of exchanges) {
      if (exchange.settled || exchange.current !== server) continue;
      if (!this.#askNext(exchange, now)) this.#settle(exchange, exchange.failure, now);
    }
  }

  /** All deadlines in one look at all exchanges: few are under way at a time, and fewer wait in vain. */
  readonly #tick = (): void => {
    const now = this.#options.clock.monotonic();
    this.changePort();
    for (const exchange of this.#exchanges.all()) {
      if (exchange.settled) continue;
      if (now >= exchange.deadline) {
        this.stats.expired++;
        this.#silent(exchange, now);
        this.#settle(exchange, exchange.failure, now);
      } else if (now >= exchange.retryAt) {
        this.#silent(exchange, now);
        if (this.#askNext(exchange, now)) continue;
        exchange.tried = 0;
        this.#askNext(exchange, now);
      }
      // Those who wait get what is stale; the exchange goes on and may still refresh the cache.
      if (now >= exchange.staleAt) this.#tellWaiters(exchange, null, now);
    }
    this.#ticking = this.#exchanges.size === 0 ? null : this.#options.clock.after(TICK, this.#tick);
  };

  #silent(exchange: Exchange, now: number): void {
    if (exchange.current?.silent(exchange.sentAt, now)) this.stats.silences++;
  }

  #settle(exchange: Exchange, answer: Answer | null, now: number): void {
    this.#exchanges.remove(exchange);
    for (const ticket of exchange.tickets ?? []) {
      this.#tickets.delete(ticket);
      const pooled = this.#sockets[ticket >>> 16];
      if (pooled !== undefined) pooled.pending--;
    }
    if (exchange.onStream) {
      for (const exchanges of this.#onStream) {
        for (const [id, other] of exchanges) if (other === exchange) exchanges.delete(id);
      }
    }
    this.#tellWaiters(exchange, answer, now);
  }

  #tellWaiters(exchange: Exchange, answer: Answer | null, now: number): void {
    const { waiters } = exchange;
    if (waiters === null) return;
    exchange.waiters = null;
    this.#waiting -= waiters.length;
    for (const waiter of waiters) waiter.settle(answer, now);
  }

  #renew(): void {
    const now = this.#options.clock.monotonic();
    for (const server of this.#servers) server.renew(now, this.#onStream[server.index]!.size > 0);
  }
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
