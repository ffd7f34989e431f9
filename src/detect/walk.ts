/**
 * One random walk of the sequential test: the outcomes that have a port, a host or just the container in common. It
 * begins with a failure, rises with failures, falls with answers, and ends when it comes back to nothing.
 */

export const OUTCOME = {
  ANSWERED: 0,
  /** A reset, or no trace of the packet having left. */
  REFUSED: 1,
  /** Nothing came back, or nothing but an ICMP error. */
  SILENT: 2,
  /** Dropped by policy. */
  PREVENTED: 3,
} as const;
export type Outcome = (typeof OUTCOME)[keyof typeof OUTCOME];

/** Targets named in a message. */
const SAMPLES = 3;

export class Walk {
  score = 0;
  /** Outcomes since it began, the answers that came between included. */
  targets = 0;
  refused = 0;
  silent = 0;
  prevented = 0;
  started = 0;
  last = 0;
  /** Targets when it was told last; 0: it has not crossed the threshold, -1: it has and was not told by itself. */
  told = 0;
  readonly samples: (string | number)[] = [];

  begin(now: number): this {
    this.score = this.targets = this.refused = this.silent = this.prevented = this.told = 0;
    this.started = this.last = now;
    this.samples.length = 0;
    return this;
  }

  /** Whether a failure is among the first, which are remembered for the message. */
  get wantsSample(): boolean {
    return this.samples.length < SAMPLES;
  }

  fail(outcome: Outcome, weight: number, most: number, now: number): void {
    this.score = Math.min(this.score + weight, most);
    this.targets++;
    this.last = now;
    if (outcome === OUTCOME.REFUSED) this.refused++;
    else if (outcome === OUTCOME.SILENT) this.silent++;
    else this.prevented++;
  }

  /** False when the walk is over. */
  answer(weight: number): boolean {
    this.score += weight;
    this.targets++;
    return this.score > 0;
  }
}

/** `in 4 s (35 refused, 2 silent); first 21, 22, 23`. */
export function describeWalk(walk: Walk, now: number): string {
  const counts = [
    [walk.refused, "refused"],
    [walk.silent, "silent"],
    [walk.prevented, "prevented"],
  ] as const;
  const failures = counts.filter(([count]) => count > 0).map(([count, word]) => `${count} ${word}`);
  const time = duration(now - walk.started);
  return `in ${time} (${failures.join(", ")}); first ${walk.samples.join(", ")}`;
}

function duration(ms: number): string {
  const seconds = Math.max(1, Math.round(ms / 1000));
  return seconds < 120 ? `${seconds} s` : `${Math.round(seconds / 60)} min`;
}

/** The walks of one kind of a container, bounded: of the least suspicious, the one that rested longest gives way. */
export class Walks {
  readonly #walks = new Map<number, Walk>();
  readonly #limit: number;
  readonly #rest: number;

  constructor(limit: number, rest: number) {
    this.#limit = limit;
    this.#rest = rest;
  }

  get(key: number, now: number): Walk | undefined {
    const walk = this.#walks.get(key);
    if (walk !== undefined && now - walk.last > this.#rest) walk.begin(now);
    return walk;
  }

  begin(key: number, now: number): Walk {
    const walk = (this.#walks.size < this.#limit ? new Walk() : this.#evict()).begin(now);
    this.#walks.set(key, walk);
    return walk;
  }

  end(key: number): void {
    this.#walks.delete(key);
  }

  #evict(): Walk {
    let chosen: Walk | undefined;
    let chosenKey = 0;
    for (const [key, walk] of this.#walks) {
      if (
        chosen === undefined ||
        walk.score < chosen.score ||
        (walk.score === chosen.score && walk.last < chosen.last)
      ) {
        chosen = walk;
        chosenKey = key;
      }
    }
    this.#walks.delete(chosenKey);
    return chosen ?? new Walk();
  }
}
