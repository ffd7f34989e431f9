/**
 * Which container may have which cached answer without a second look. A cell says: this container, under this revision
 * and profile, was given this very answer, and there was nothing to report, nothing left to learn, and its addresses are
 * bound. Any other case has no cell and is decided anew. All of that is in the key, compared in full: a cell is right or
 * it is absent, and a reload, a new life of a container, a new answer or an evicted binding needs no purge.
 */
const WAYS = 4;
const SETS = 1 << 15;
const CELL = 8;

/** What a cell is about. Fields are filled in place, so that asking costs no object. */
export class Situation {
  entry = 0;
  entryGeneration = 0;
  residentSlot = 0;
  residentGeneration = 0;
  revision = 0;
  /** Index of the profile; -1 when the container has none. */
  profile = -1;
  /** Evictions that the container's bindings have seen. */
  bindingEpoch = 0;
}

export class Decisions {
  readonly #cells = new Int32Array(SETS * WAYS * CELL);

  /** Whether the answer may go out as it is at the second `now`. */
  isClean(situation: Situation, now: number): boolean {
    const at = this.#find(situation);
    return at >= 0 && this.#cells[at + 7]! > now && this.#cells[at + 6] === situation.bindingEpoch;
  }

  /** Whether there is a cell for the same answer, container, revision and profile, even if its time is over. */
  isKnown(situation: Situation): boolean {
    return this.#find(situation) >= 0;
  }

  /** `until`: the second from which on it must be decided again. */
  setClean(situation: Situation, until: number): void {
    const cells = this.#cells;
    let at = this.#find(situation);
    if (at < 0) {
      // Among the others of the set, the one whose time is over first gives way.
      const first = setOf(situation);
      at = first;
      for (let other = first; other < first + WAYS * CELL; other += CELL) {
        if (cells[other + 7]! < cells[at + 7]!) at = other;
      }
    }
    cells[at] = situation.entryGeneration;
    cells[at + 1] = situation.entry;
    cells[at + 2] = situation.residentGeneration;
    cells[at + 3] = situation.residentSlot;
    cells[at + 4] = situation.revision;
    cells[at + 5] = situation.profile;
    cells[at + 6] = situation.bindingEpoch;
    cells[at + 7] = until;
  }

  /** Where the cell is, or -1. */
  #find(situation: Situation): number {
    const cells = this.#cells;
    const first = setOf(situation);
    for (let at = first; at < first + WAYS * CELL; at += CELL) {
      if (
        cells[at] === situation.entryGeneration &&
        cells[at + 2] === situation.residentGeneration &&
        cells[at + 1] === situation.entry &&
        cells[at + 3] === situation.residentSlot &&
        cells[at + 4] === situation.revision &&
        cells[at + 5] === situation.profile &&
        cells[at + 7] !== 0
      ) {
        return at;
      }
    }
    return -1;
  }
}

/** First word of the set that this answer and container belong to. */
function setOf(situation: Situation): number {
  const { entryGeneration, residentSlot } = situation;
  const mixed = Math.imul(entryGeneration, 0x9e3779b1) ^ Math.imul(residentSlot + 1, 0x85ebca6b);
  return ((mixed ^ (mixed >>> 15)) & (SETS - 1)) * (WAYS * CELL);
}
