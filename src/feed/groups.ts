/**
 * The sets of feeds that entries belong to. Few differ, so an entry holds the number of its group, and a hit is told from
 * the group's members. Layout: see index.ts.
 */
import { TidesmanError } from "../errors.ts";
import type { FeedHit } from "../policy/types.ts";
import { HEADER } from "./format.ts";
import type { FeedSource } from "./types.ts";

/** Numbers the groups while a set is compiled. A member is the feed's number × 2, plus 1 for "and all below". */
export class GroupTable {
  readonly #numbers = new Map<string, number>();
  /** The groups of one member: by far the most asked for. */
  readonly #single: (number | undefined)[] = [];
  readonly #groups: (readonly number[])[] = [];

  get size(): number {
    return this.#groups.length;
  }

  /** The number of the group of one member. */
  numberOfOne(member: number): number {
    let number = this.#single[member];
    if (number === undefined) {
      number = this.#groups.push([member]) - 1;
      this.#single[member] = number;
    }
    return number;
  }

  /** The number of the group of `members`, in any order and repeated as may be. */
  number(members: readonly number[]): number {
    // Where a feed lists a name with all below it, its plain listing of the same name adds nothing.
    const kept = [...new Set(members)]
      .sort((a, b) => a - b)
      .filter((member, _, all) => {
        return (member & 1) === 1 || !all.includes(member + 1);
      });
    if (kept.length === 1) return this.numberOfOne(kept[0]!);
    const key = kept.join();
    let number = this.#numbers.get(key);
    if (number === undefined) {
      number = this.#groups.push(kept) - 1;
      this.#numbers.set(key, number);
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

/** Where the text of an entry is read when somebody asks for it. */
export interface EntryText {
  text(word: number, bit: number): string;
}

/** A hit on a name. Most are only counted and ranked, so that the text of the entry is made when it is read. */
class NameHit implements FeedHit {
  readonly feed: string;
  readonly match: FeedHit["match"];
  declare readonly effect?: NonNullable<FeedHit["effect"]>;
  readonly #names: EntryText;
  readonly #word: number;
  readonly #bit: number;

  constructor(
    { name, effect }: FeedSource,
    match: FeedHit["match"],
    names: EntryText,
    word: number,
    bit: number,
  ) {
    this.feed = name;
    this.match = match;
    if (effect !== undefined) this.effect = effect;
    this.#names = names;
    this.#word = word;
    this.#bit = bit;
  }

  get entry(): string {
    return this.#names.text(this.#word, this.#bit);
  }
}

/** Reads the groups of a compiled set. */
export class Groups {
  readonly count: number;
  readonly #starts: Uint32Array;
  readonly #members: Uint32Array;
  readonly #sources: readonly FeedSource[];

  /** Throws TM_FEED when the table does not fit into the buffer, or to `sources`. */
  constructor(buffer: SharedArrayBuffer, header: Uint32Array, sources: readonly FeedSource[]) {
    this.count = header[HEADER.GROUPS]!;
    const at = header[HEADER.GROUPS_AT]!;
    this.#starts = new Uint32Array(buffer, at, this.count + 1);
    const members = this.#starts[this.count]!;
    const membersAt = at + (this.count + 1) * 4;
    if (membersAt + members * 4 > buffer.byteLength) {
      throw new TidesmanError("TM_FEED", "the groups of the compiled feeds are cut; compile the feeds again");
    }
    this.#members = new Uint32Array(buffer, membersAt, members);
    // What a look-up runs over and reads is bounded once, here.
    const ordered = this.#starts.every((start, index, starts) => start >= (starts[index - 1] ?? 0));
    if (!ordered || this.#members.some((member) => member >>> 1 >= sources.length)) {
      throw new TidesmanError(
        "TM_FEED",
        "the groups of the compiled feeds are corrupt; compile the feeds again",
      );
    }
    this.#sources = sources;
  }

  /** The members of a group. */
  members(group: number): Uint32Array {
    return this.#members.subarray(this.#starts[group], this.#starts[group + 1]);
  }

  /**
   * The hits, and one more for every feed of the group of the name at bit `bit` of word `word`; `whole`: that name is all
   * of the one asked for.
   */
  withNameHits(
    hits: readonly FeedHit[],
    group: number,
    whole: boolean,
    names: EntryText,
    word: number,
    bit: number,
  ): readonly FeedHit[] {
    const end = this.#starts[group + 1]!;
    let all = hits;
    for (let index = this.#starts[group]!; index < end; index++) {
      const member = this.#members[index]!;
      const below = (member & 1) === 1;
      if (!below && !whole) continue;
      const source = this.#sources[member >>> 1]!;
      const hit = new NameHit(source, below ? "suffix" : "exact", names, word, bit);
      // Nearly always the only one, and an array made by `push` would have room for 17.
      all = all.length === 0 ? [hit] : [...all, hit];
    }
    return all;
  }

  /** Adds a hit on an address for every feed of the group. */
  addAddressHits(hits: FeedHit[], group: number, entry: string): void {
    for (const member of this.members(group)) {
      const { name: feed, effect } = this.#sources[member >>> 1]!;
      const hit = { feed, entry, match: "address" } as const;
      hits.push(effect === undefined ? hit : { ...hit, effect });
    }
  }
}
