/** One lookup on its way, and the two ends it knows: where the query came from, and where a late reply goes. */
import type { Resident } from "../container/table.ts";
import type { Decision } from "../policy/types.ts";
import type { Answer } from "./answer.ts";
import type { Waiter } from "./exchange.ts";
import type { Query } from "./message.ts";
import { type Asked, copyBytes } from "./reply.ts";

/** Where a late reply goes. */
export interface Asker {
  /** A datagram has a size limit, a stream has none. */
  readonly datagram: boolean;
  /** `length` bytes of `message`; both are only lent for the call. */
  send(message: Uint8Array, length: number): void;
  /** No reply will come. */
  release(): void;
}

/** Where a query came from. */
export interface Origin {
  readonly datagram: boolean;
  /** The asker, to answer later. */
  keep(): Asker;
}

/** A lookup for which the shortcut was not taken. */
export class Lookup implements Asked, Waiter {
  readonly resident: Resident;
  readonly head: Uint8Array;
  /** Folded wire form. */
  readonly name: Uint8Array;
  readonly nameLength: number;
  readonly kind: number;
  readonly hash: number;
  readonly end: number;
  readonly type: number;
  readonly flags: number;
  readonly edns: boolean;
  readonly wantsAuthentic: boolean;
  /** Bytes that the reply may have. */
  readonly limit: number;
  canBeStale = false;
  /** A detector spoke of it: nothing is learned from it, and no shortcut is taken. */
  suspicious = false;
  asker: Asker | null = null;
  /** The question's decision: told together with the answer, or alone when there is none. */
  decision: Decision | null = null;
  readonly #settled: (lookup: Lookup, answer: Answer | null, now: number) => void;

  /** Of the query that was read from `bytes[at]`. `settled` is called as `settle` is. */
  constructor(
    query: Query,
    bytes: Uint8Array,
    at: number,
    limit: number,
    resident: Resident,
    settled: (lookup: Lookup, answer: Answer | null, now: number) => void,
  ) {
    this.resident = resident;
    this.head = new Uint8Array(query.end);
    copyBytes(bytes, at, this.head, 0, query.end);
    this.name = new Uint8Array(query.nameLength);
    copyBytes(query.key, 0, this.name, 0, query.nameLength);
    this.nameLength = query.nameLength;
    this.kind = query.kind;
    this.hash = query.hash;
    this.end = query.end;
    this.type = query.type;
    this.flags = query.flags;
    this.edns = query.edns;
    this.wantsAuthentic = query.wantsAuthentic;
    this.limit = limit;
    this.#settled = settled;
  }

  get key(): Uint8Array {
    return this.name;
  }

  settle(answer: Answer | null, now: number): void {
    this.#settled(this, answer, now);
  }
}
