/** What would change, put together by kind, rule and image. Bounded, however much changes. */
import type { AttackType } from "../policy/types.ts";
import { CHANGES, type Change } from "../policy/types.ts";
import type { Outcome } from "./judge.ts";

/** `audits`: counted in findings; `models`: in entries; `lookups`: in names of one container. */
export type Source = "audits" | "models" | "lookups";

const GROUPS = 500;
const CONTAINERS = 20;
/** Subjects that are counted one by one, and those of them that are shown. */
const SUBJECTS = 200;
const SAMPLES = 5;

export interface Changed {
  readonly change: Change;
  readonly source: Source;
  readonly image: string;
  /** Names of the containers that it is about, at least one. */
  readonly containers: readonly string[];
  readonly before: Outcome;
  readonly after: Outcome;
  readonly count: number;
}

export interface ChangeSample {
  /** What the new policy would say of it. */
  readonly message: string;
  readonly count: number;
}

export interface ChangeGroup {
  readonly change: Change;
  readonly source: Source;
  readonly image: string;
  /** Rules that govern, in force and in the new policy. */
  readonly rules: { readonly before: string | null; readonly after: string | null };
  readonly effects: { readonly before: Outcome["effect"]; readonly after: Outcome["effect"] };
  readonly attackType: AttackType | null;
  readonly count: number;
  /** At most 20 of them. */
  readonly containers: readonly string[];
  /** How many there are besides. */
  readonly moreContainers: number;
  /** The most frequent first. */
  readonly samples: readonly ChangeSample[];
}

type Totals = Record<Change, Record<Source, number>>;

interface Open {
  readonly first: Changed;
  count: number;
  readonly containers: Set<string>;
  readonly others: Set<string>;
  readonly subjects: Map<string, number>;
}

export class Tally {
  readonly #groups = new Map<string, Open>();
  readonly #totals: Totals;
  #omitted = 0;

  constructor() {
    const none = (): Record<Source, number> => ({ audits: 0, models: 0, lookups: 0 });
    this.#totals = Object.fromEntries(CHANGES.map((change) => [change, none()])) as Totals;
  }

  add(changed: Changed): void {
    const { change, source, image, before, after, count } = changed;
    this.#totals[change][source] += count;
    const attackType = after.attackType ?? before.attackType;
    const key = JSON.stringify([
      [change, source, image, attackType],
      [before.rule, after.rule, before.effect, after.effect],
    ]);
    let group = this.#groups.get(key);
    if (group === undefined) {
      if (this.#groups.size >= GROUPS) {
        this.#omitted += count;
        return;
      }
      group = { first: changed, count: 0, containers: new Set(), others: new Set(), subjects: new Map() };
      this.#groups.set(key, group);
    }
    group.count += count;
    for (const name of changed.containers) {
      if (group.containers.size < CONTAINERS || group.containers.has(name)) group.containers.add(name);
      else if (group.others.size < 10 * GROUPS) group.others.add(name);
    }
    const subject = after.effect === null ? before.message : after.message;
    const known = group.subjects.get(subject);
    if (known !== undefined || group.subjects.size < SUBJECTS)
      group.subjects.set(subject, (known ?? 0) + count);
  }

  get totals(): Readonly<Record<Change, Readonly<Record<Source, number>>>> {
    return this.#totals;
  }

  /** Counted in the totals, and in no group. */
  get omitted(): number {
    return this.#omitted;
  }

  /** In the order of CHANGES, the largest of each first. */
  groups(): readonly ChangeGroup[] {
    return Array.from(this.#groups.values(), groupOf).sort(
      (a, b) => CHANGES.indexOf(a.change) - CHANGES.indexOf(b.change) || b.count - a.count,
    );
  }
}

function groupOf({ first, count, containers, others, subjects }: Open): ChangeGroup {
  const { change, source, image, before, after } = first;
  const samples = [...subjects].sort(([, a], [, b]) => b - a).slice(0, SAMPLES);
  return {
    change,
    source,
    image,
    rules: { before: before.rule, after: after.rule },
    effects: { before: before.effect, after: after.effect },
    attackType: after.attackType ?? before.attackType,
    count,
    containers: [...containers],
    moreContainers: others.size,
    samples: samples.map(([message, times]) => ({ message, count: times })),
  };
}
