/**
 * The sets of feeds that entries belong to. Few differ, so an entry holds the number of its group, and a hit is told from
 * the group's members. Layout: see index.ts.
 */
import type { FeedHit } from "../policy/types.ts";
import { HEADER } from "./format.ts";
import type { FeedSource } from "./types.ts";

/** Numbers the groups while a set is compiled. A member is the feed's number × 2, plus 1 for "and all below". */
export class GroupTable {
  readonly #numbers = new Map<number | string, number>();
  readonly #groups: (readonly number[])[] = [];

  get size(): number {
    return this.#groups.length;
  }

  /** The number of the group of `members`, in any order and repeated as may be. */
  number(members: readonly number[]): number {
    if (members.length === 1) return this.#numberOf(members[0]!, members);
    // Where a feed lists a name with all below it, its plain listing of the same name adds nothing.
    const kept = [...new Set(members)]
      .sort((a, b) => a - b)
      .filter((member, _, all) => {
        return (member & 1) === 1 || !all.includes(member + 1);
      });
    return kept.length === 1 ? this.#numberOf(kept[0]!, kept) : this.#numberOf(kept.join(), kept);
  }

  #numberOf(key: number | string, group: readonly number[]): number {
    let number = this.#numbers.get(key);
    if (number === undefined) {
      number = this.#groups.length;
      this.#numbers.set(key, number);
      this.#groups.push(group);
    }
    return number;
  }

  /** The words of the table. */
  words(): Uint32Array {
    const starts = [0];
    for (const group of this.#groups) starts.push(starts.at(-1)! + group.length);
    return Uint32Array.from([...starts, ...this.#groups.flat()]);
  }
}

/** Reads the groups of a compiled set. */
export class Groups {
  readonly count: number;
  readonly #starts: Uint32Array;
  readonly #members: Uint32Array;
  readonly #sources: readonly FeedSource[];

  constructor(buffer: SharedArrayBuffer, header: Uint32Array, sources: readonly FeedSource[]) {
    this.count = header[HEADER.GROUPS]!;
    const at = header[HEADER.GROUPS_AT]!;
    this.#starts = new Uint32Array(buffer, at, this.count + 1);
    this.#members = new Uint32Array(buffer, at + (this.count + 1) * 4, this.#starts[this.count]!);
    this.#sources = sources;
  }

  /** The members of a group. */
  members(group: number): Uint32Array {
    return this.#members.subarray(this.#starts[group], this.#starts[group + 1]);
  }

  /** Whether a feed of the group covers a name that the entry is all of (`whole`), or only the end of. */
  covers(group: number, whole: boolean): boolean {
    if (whole) return true;
    const end = this.#starts[group + 1]!;
    for (let index = this.#starts[group]!; index < end; index++) {
      if ((this.#members[index]! & 1) === 1) return true;
    }
    return false;
  }

  /** Adds a hit for every feed of the group; `whole`: the entry is all of the name asked for. */
  addHits(hits: FeedHit[], group: number, entry: string, whole: boolean): void {
    const end = this.#starts[group + 1]!;
    for (let index = this.#starts[group]!; index < end; index++) {
      const member = this.#members[index]!;
      if ((member & 1) === 0 && !whole) continue;
      this.#add(hits, member, entry, (member & 1) === 1 ? "suffix" : "exact");
    }
  }

  /** Adds a hit on an address for every feed of the group. */
  addAddressHits(hits: FeedHit[], group: number, entry: string): void {
    for (const member of this.members(group)) this.#add(hits, member, entry, "address");
  }

  #add(hits: FeedHit[], member: number, entry: string, match: FeedHit["match"]): void {
    const { name, effect } = this.#sources[member >>> 1]!;
    hits.push(effect === undefined ? { feed: name, entry, match } : { feed: name, entry, match, effect });
  }
}
