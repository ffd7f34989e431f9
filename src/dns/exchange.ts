/**
 * Questions under way at the upstreams, found by what they ask, so that identical lookups join. No text is made of a
 * name to find it by: a chain per hash leads to it, and the name is compared in full.
 */
import type { Answer } from "./answer.ts";
import { type QueryKey, sameKey } from "./message.ts";
import type { UpstreamServer } from "./upstream-server.ts";

/** A question, and what waits for its answer. */
export interface Waiter extends QueryKey {
  /** Header and question as asked. */
  readonly head: Uint8Array;
  /** An expired answer is at hand. */
  readonly canBeStale: boolean;
  /** `now` in milliseconds of the monotonic clock. Null: no upstream answered in time. */
  settle(answer: Answer | null, now: number): void;
}

export class Exchange {
  /** The first who asked: the question is put in its words. */
  readonly first: Waiter;
  /** Null when all have been told. */
  waiters: Waiter[] | null;
  readonly deadline: number;
  readonly staleAt: number;
  /** `socket index << 16 | id` of every question sent by UDP. */
  tickets: number[] | null = null;
  /** Whether it was ever asked over a stream. */
  onStream = false;
  current: UpstreamServer | null = null;
  sentAt: number;
  retryAt = 0;
  /** Upstreams asked in this round, by bit. */
  tried = 0;
  /** Ask without EDNS: an upstream did not understand it (RFC 6891, section 6.2.2). */
  plain = false;
  failure: Answer | null = null;
  settled = false;
  /** The next in the chain of its hash. */
  next: Exchange | null = null;

  constructor(first: Waiter, now: number, deadline: number, staleAt: number) {
    this.first = first;
    this.waiters = [first];
    this.sentAt = now;
    this.deadline = deadline;
    this.staleAt = staleAt;
  }
}

const MOST_CHAINS = 1 << 14;

export class Exchanges {
  readonly #chains: (Exchange | null)[];
  readonly #mask: number;
  #size = 0;

  /** `usual`: how many there may be; more are found too, only slower. */
  constructor(usual: number) {
    let chains = 16;
    while (chains < Math.min(usual, MOST_CHAINS)) chains *= 2;
    this.#chains = new Array<Exchange | null>(chains).fill(null);
    this.#mask = chains - 1;
  }

  get size(): number {
    return this.#size;
  }

  /** The exchange that asks the same; null when there is none. */
  find(key: QueryKey): Exchange | null {
    let exchange = this.#chains[key.hash & this.#mask] ?? null;
    while (exchange !== null && !sameKey(exchange.first, key)) exchange = exchange.next;
    return exchange;
  }

  add(exchange: Exchange): void {
    const chain = exchange.first.hash & this.#mask;
    exchange.next = this.#chains[chain] ?? null;
    this.#chains[chain] = exchange;
    this.#size++;
  }

  /** Ends it; once is enough. */
  remove(exchange: Exchange): void {
    if (exchange.settled) return;
    exchange.settled = true;
    this.#size--;
    const chain = exchange.first.hash & this.#mask;
    let before: Exchange | null = null;
    for (let at = this.#chains[chain] ?? null; at !== exchange; at = at.next) {
      if (at === null) return;
      before = at;
    }
    if (before === null) this.#chains[chain] = exchange.next;
    else before.next = exchange.next;
  }

  /** All that are under way now. */
  all(): Exchange[] {
    const all: Exchange[] = [];
    for (const first of this.#chains) {
      for (let exchange = first; exchange !== null; exchange = exchange.next) all.push(exchange);
    }
    return all;
  }
}
