/** What a format hands its finds to: the entries of one kind, the exceptions, and what was refused with samples. */
import { Growing } from "../growing.ts";
import type { FeedSource } from "../types.ts";
import { appendAddresses, parseRange } from "./addresses.ts";
import { FeedBodyError, MAX_BODY } from "./body.ts";
import { AddressExceptions, type ExceptionReach, NameExceptions } from "./exceptions.ts";
import { A_PAGE, hostOf } from "./indicators.ts";
import { DOT, forEachLine, latin1, MAX_LINE, type TakeLines, type Taken } from "./lines.ts";
import { appendName, appendNameLines } from "./names.ts";

const MAX_SAMPLES = 5;
const MAX_SAMPLE_TEXT = 80;
/** Names read by one call: a compiler does better with many calls than with one that lasts. */
const AT_ONCE = 256;
const NOUNS = { domain: "domain name", address: "address", url: "URL of a whole host" };

/** The entries of one list, and what was refused. Plain data. */
export interface ParsedList {
  /**
   * Domains: folded ASCII text without the final dot, each name ended by a line feed; a leading dot marks a name that
   * stands for everything below it too. Addresses: rows of `ADDRESS_ROW` bytes.
   */
  readonly entries: Uint8Array;
  readonly count: number;
  /** Lines that were no entry, and the first few of them as `line N: text: reason`. */
  readonly refused: number;
  readonly samples: readonly string[];
}

/**
 * What a name stands for: `feed`: what the feed's `match` says; `below`: itself and everything below; `whole`: itself.
 * A name written `*.name` or `.name` always stands for everything below too.
 */
export type NameReach = "feed" | "below" | "whole";

export class ListEntries {
  readonly kind: FeedSource["kind"];
  readonly #suffix: boolean;
  readonly #out: Growing;
  readonly #names = new NameExceptions();
  readonly #addresses = new AddressExceptions();
  readonly #scratch = new Growing(1024);
  readonly #samples: string[] = [];
  #count = 0;
  #refused = 0;

  /** `capacity`: bytes that the entries may well need. */
  constructor(kind: FeedSource["kind"], match: FeedSource["match"], capacity: number) {
    this.kind = kind;
    this.#suffix = match === "suffix";
    // Names of seven bytes and more have room for their dots.
    this.#out = new Growing(capacity + (this.#suffix ? capacity >>> 3 : 0) + 1024);
  }

  /** Takes the name or address at `body[start … end)`; null, or why it is no entry of this feed. */
  add(body: Uint8Array, start: number, end: number, reach: NameReach = "feed"): string | null {
    if (this.#out.length > MAX_BODY) throw new FeedBodyError(`the entries need more than ${MAX_BODY} bytes`);
    if (this.kind === "url") return this.#addURL(latin1(body, start, Math.min(end, start + MAX_LINE)));
    if (this.kind === "domain") {
      const below = reach === "below" || (reach === "feed" && this.#suffix);
      const reason = appendName(body, start, end, below, this.#out);
      if (reason === null) this.#count++;
      return reason;
    }
    const rows = appendAddresses(body, start, end, this.#out);
    if (typeof rows === "string") return rows;
    this.#count += rows;
    return null;
  }

  /** Takes the host of a URL, in lists of which only URLs are wanted. */
  #addURL(url: string): string | null {
    const host = hostOf(url);
    if (host === null) return url.includes("://") ? A_PAGE : "not a URL";
    if (parseRange(host) !== null) return "an address, not a name; a feed of kind `address` takes it";
    const bytes = Buffer.from(host);
    const reason = appendName(bytes, 0, bytes.length, this.#suffix, this.#out);
    if (reason === null) this.#count++;
    return reason;
  }

  /** The same for a piece of text; characters over U+00FF are taken as UTF-8. */
  addText(text: string, reach: NameReach = "feed"): string | null {
    const bytes = Buffer.from(text);
    return this.add(bytes, 0, bytes.length, reach);
  }

  /** Takes the name or address out again; see exceptions.ts. Null, or why it is none. */
  except(
    body: Uint8Array,
    start: number,
    end: number,
    { reach, strong }: { readonly reach: ExceptionReach; readonly strong: boolean },
  ): string | null {
    if (this.kind === "address") {
      const range = parseRange(latin1(body, start, Math.min(end, start + MAX_LINE)));
      if (range === null) return "not an address";
      this.#addresses.add(range);
      return null;
    }
    const scratch = this.#scratch;
    scratch.length = 0;
    const reason = appendName(body, start, end, false, scratch);
    // What cannot be an entry need not be excepted; a public suffix may stand above many entries.
    if (reason !== null) return reason;
    const dotted = scratch.bytes[0] === DOT;
    this.#names.add(scratch.text(dotted ? 1 : 0).slice(0, -1), reach, strong);
    return null;
  }

  /** Reads the lines of a body; `onLine` returns null, or why the line is no entry. Comments begin lines only. */
  readLines(
    body: Uint8Array,
    comments: ReadonlySet<number>,
    onLine: (start: number, end: number, line: number, indented: boolean) => string | null,
    take?: TakeLines,
  ): void {
    forEachLine(
      body,
      comments,
      (start, end, line, indented) => {
        const reason = onLine(start, end, line, indented);
        if (reason !== null) this.refuseLine(body, start, end, line, reason);
      },
      take,
    );
  }

  /** The same for lists with a name to a line, where one that is nothing else needs not be asked for. */
  readNameLines(
    body: Uint8Array,
    comments: ReadonlySet<number>,
    onLine: (start: number, end: number) => string | null,
  ): void {
    const take = (at: number, most: number): Taken => {
      let next = at;
      let lines = 0;
      for (let count = AT_ONCE; count === AT_ONCE; lines += count) {
        const few = Math.min(most - lines, AT_ONCE);
        ({ next, lines: count } = appendNameLines(body, next, this.#suffix, this.#out, few));
      }
      this.#count += lines;
      return { next, lines };
    };
    this.readLines(body, comments, onLine, this.kind === "domain" ? take : undefined);
  }

  /** The same for formats whose lines are read as text, one character for each byte. */
  readTextLines(
    body: Uint8Array,
    comments: ReadonlySet<number>,
    onLine: (text: string, indented: boolean) => string | null,
  ): void {
    this.readLines(body, comments, (start, end, _line, indented) => {
      return end - start > MAX_LINE ? "line too long" : onLine(latin1(body, start, end), indented);
    });
  }

  refuseLine(body: Uint8Array, start: number, end: number, line: number, reason: string): void {
    const shown = latin1(body, start, Math.min(end, start + MAX_SAMPLE_TEXT + 1));
    this.refuse(`line ${line}`, shown, end - start > MAX_LINE ? "line too long" : reason);
  }

  /** Counts what is no entry; `place` says where it stands (`line 7`, `object 3`). */
  refuse(place: string, text: string, reason: string): void {
    this.#refused++;
    if (this.#samples.length >= MAX_SAMPLES) return;
    const cut = text.length > MAX_SAMPLE_TEXT;
    const shown = text.slice(0, MAX_SAMPLE_TEXT).replace(/[^\x20-\x7e]/g, (char) => {
      const code = char.charCodeAt(0);
      return code < 256
        ? `\\x${code.toString(16).padStart(2, "0")}`
        : `\\u${code.toString(16).padStart(4, "0")}`;
    });
    this.#samples.push(`${place}: ${shown}${cut ? "…" : ""}: ${reason}`);
  }

  /** Carries the exceptions out. Throws `FeedBodyError` when something was refused and nothing was an entry. */
  finish(): ParsedList {
    if (this.#count === 0 && this.#refused > 0) {
      const lines = this.#refused === 1 ? "its only line" : `none of its ${this.#refused} lines`;
      const verb = this.#refused === 1 ? "is not" : "is";
      const noun = NOUNS[this.kind];
      throw new FeedBodyError(`${lines} ${verb} an entry (${noun} expected): ${this.#samples[0]}`);
    }
    let entries = this.#out.given();
    let count = this.#count;
    if (this.#names.size > 0) {
      ({ entries, count } = this.#names.apply(entries, this.#suffix, (name, gone) => {
        const what = gone ? "taken out whole" : "stands for itself alone";
        this.refuse("exception", name, `something that it covers is excepted, so that it ${what}`);
      }));
    } else if (this.#addresses.size > 0) ({ entries, count } = this.#addresses.apply(entries));
    return { entries, count, refused: this.#refused, samples: this.#samples };
  }
}
