/**
 * What no list is trusted to name, whoever wrote it: popular names, whose loss would stop much of what runs here, and the
 * networks of this host and its containers. Both work on entries as list/entries.ts gives them. Public suffixes need no
 * guard: they are refused when a list is read.
 */
import { formatAddress, NEVER_INTERNET } from "../address.ts";
import { TidesmanError } from "../errors.ts";
import { Growing } from "./growing.ts";
import { parseRange } from "./list/addresses.ts";
import { AddressExceptions } from "./list/exceptions.ts";
import { DOT, LF } from "./list/lines.ts";

const MAX_SAMPLES = 5;

export interface Guarded {
  /** In the form they were given in. */
  readonly entries: Uint8Array;
  readonly count: number;
  /** Entries given that were left out, whole or in part. */
  readonly removed: number;
  /** The first few of those; a name with a leading dot stands for everything below it too. */
  readonly samples: readonly string[];
}

/**
 * The names without those that are popular, and without those that stand for everything below them while something there
 * is popular. A name below a popular one stays: `evil.cloud.example` says nothing about `cloud.example`. `popular`: folded
 * ASCII without the final dot.
 */
export function guardNames(entries: Uint8Array, popular: ReadonlySet<string>): Guarded {
  const above = new Set<string>();
  for (const name of popular) {
    for (let at = 0; at >= 0; at = behindDot(name, at)) above.add(name.slice(at));
  }
  const text = Buffer.from(entries.buffer, entries.byteOffset, entries.byteLength);
  const out = new Growing(1024);
  const samples: string[] = [];
  let count = 0;
  let removed = 0;
  // Entries that stay are copied many at once.
  let kept = 0;
  for (let at = 0; at < text.length; ) {
    let next = at + 1;
    // Lines are so short that a search for their ends costs more than a look at each byte.
    while (text[next - 1] !== LF) next++;
    const below = text[at] === DOT;
    const name = text.toString("latin1", below ? at + 1 : at, next - 1);
    if ((below ? above : popular).has(name)) {
      out.append(text.subarray(kept, at));
      kept = next;
      removed++;
      if (samples.length < MAX_SAMPLES) samples.push(below ? `.${name}` : name);
    } else count++;
    at = next;
  }
  if (removed === 0) return { entries, count, removed, samples };
  out.append(text.subarray(kept));
  return { entries: out.content(), count, removed, samples };
}

/**
 * The addresses without those that are not the Internet: `NEVER_INTERNET` and `internal`, each `ADDRESS` or
 * `ADDRESS/LENGTH`. A prefix around such a network is split. Throws TM_CONFIG for text that is neither.
 */
export function subtractInternal(rows: Uint8Array, internal: Iterable<string>): Guarded {
  const networks = new AddressExceptions();
  for (const text of [...NEVER_INTERNET, ...internal]) {
    const range = text.includes("-") ? null : parseRange(text);
    if (range === null) {
      throw new TidesmanError(
        "TM_CONFIG",
        `\`${text}\` is no address and no prefix; write \`ADDRESS\` or \`ADDRESS/LENGTH\``,
      );
    }
    networks.add(range);
  }
  const samples: string[] = [];
  let removed = 0;
  const { entries, count } = networks.apply(rows, (at) => {
    removed++;
    if (samples.length < MAX_SAMPLES) samples.push(rowText(rows, at));
  });
  return { entries, count, removed, samples };
}

/** The row at `rows[at]` as `ADDRESS`, or `ADDRESS/LENGTH` where not all bits count. */
export function rowText(rows: Uint8Array, at: number): string {
  const bytes = rows[at] === 4 ? 4 : 16;
  const length = rows[at + 1]!;
  const address = formatAddress(rows, at + 2, bytes);
  return length === bytes * 8 ? address : `${address}/${length}`;
}

/** Where the parent of the name at `from` begins; negative when there is none. */
function behindDot(name: string, from: number): number {
  const dot = name.indexOf(".", from);
  return dot < 0 ? -1 : dot + 1;
}
