/**
 * Which container may have which cached answer without a second look. A cell says: this container, under this revision
 * and profile, was given this very answer, and there was nothing to report, nothing left to learn, and its addresses are
 * bound. Any other case has no cell and is decided anew. All of that is in the key, compared in full: a cell is right or
 * it is absent, and a reload, a new life of a container, a new answer or an evicted binding needs no purge.
 */
const CELLS = 1 << 16;
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
  readonly #cells = new Int32Array(CELLS * CELL);

  /** Whether the answer may go out as it is at the second `now`. */
  isClean(situation: Situation, now: number): boolean {
    const cells = this.#cells;
    const at = place(situation);
    return (
      cells[at + 7]! > now &&
      cells[at] === situation.entry &&
      cells[at + 1] === situation.entryGeneration &&
      cells[at + 2] === situation.residentSlot &&
      cells[at + 3] === situation.residentGeneration &&
      cells[at + 4] === situation.revision &&
      cells[at + 5] === situation.profile &&
      cells[at + 6] === situation.bindingEpoch
    );
  }

  /** Whether a cell for the same answer, container, revision and profile stood here, even if its time is over. */
  isKnown(situation: Situation): boolean {
    const cells = this.#cells;
    const at = place(situation);
    return (
      cells[at + 7] !== 0 &&
      cells[at] === situation.entry &&
      cells[at + 1] === situation.entryGeneration &&
      cells[at + 2] === situation.residentSlot &&
      cells[at + 3] === situation.residentGeneration &&
      cells[at + 4] === situation.revision &&
      cells[at + 5] === situation.profile
    );
  }

  /** `until`: the second from which on it must be decided again. */
  setClean(situation: Situation, until: number): void {
    const cells = this.#cells;
    const at = place(situation);
    cells[at] = situation.entry;
    cells[at + 1] = situation.entryGeneration;
    cells[at + 2] = situation.residentSlot;
    cells[at + 3] = situation.residentGeneration;
    cells[at + 4] = situation.revision;
    cells[at + 5] = situation.profile;
    cells[at + 6] = situation.bindingEpoch;
    cells[at + 7] = until;
  }
}

/** Where the cell for this answer and container would be; another pair may hold the place. */
function place(situation: Situation): number {
  const mixed =
    Math.imul(situation.entryGeneration, 0x9e3779b1) ^ Math.imul(situation.residentSlot + 1, 0x85ebca6b);
  return ((mixed ^ (mixed >>> 15)) & (CELLS - 1)) * CELL;
}
