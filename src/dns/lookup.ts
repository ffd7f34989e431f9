/** One lookup on its way, and the two ends it knows: where the query came from, and where a late reply goes. */
import type { Resident } from "../container/table.ts";
import type { Decision } from "../policy/types.ts";
import type { Answer } from "./answer.ts";
import type { Query, QueryKey } from "./message.ts";
import type { Asked } from "./reply.ts";
import type { Waiter } from "./upstream.ts";

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
  /** Header and question as asked. */
  readonly head: Uint8Array;
  readonly name: Uint8Array;
  readonly key: QueryKey;
  readonly end: number;
  readonly type: number;
  readonly flags: number;
  readonly edns: boolean;
  readonly wantsAuthentic: boolean;
  /** Bytes that the reply may have. */
  readonly limit: number;
  asker: Asker | null = null;
  /** The question's decision: told together with the answer, or alone when there is none. */
  decision: Decision | null = null;
  readonly #settled: (lookup: Lookup, answer: Answer | null) => void;

  constructor(
    query: Query,
    head: Uint8Array,
    limit: number,
    resident: Resident,
    settled: (lookup: Lookup, answer: Answer | null) => void,
  ) {
    this.resident = resident;
    this.head = head;
    this.key = query.toKey();
    this.name = this.key.key.subarray(0, this.key.nameLength);
    this.end = query.end;
    this.type = query.type;
    this.flags = query.flags;
    this.edns = query.edns;
    this.wantsAuthentic = query.wantsAuthentic;
    this.limit = limit;
    this.#settled = settled;
  }

  settle(answer: Answer | null): void {
    this.#settled(this, answer);
  }
}
