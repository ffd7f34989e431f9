/**
 * Folds alike audits of one image. Each container's first audits stay as they are: the first `after` of an image within
 * `within` are single. The next opens a fold, one record that takes everything alike of all containers of the image for
 * `summaries`; while it goes on, another follows. After `within` of quiet audits are single again.
 *
 * Nothing is lost: a finding raises the count of exactly one record, and a fold names each container that it stands for, with
 * that container's share of the count. A fold that names `MEMBERS` takes no other container; one more is opened for those.
 * Findings with effect `block` are never folded: each tells that another container was stopped.
 *
 * Pure: time is that of the findings. All of it is in memory: after a restart audits are single again.
 */
import type { Finding } from "../policy/types.ts";
import { keyInImage } from "./alike.ts";
import type { AuditContainer, AuditRecord, FoldedContainer } from "./record.ts";

export interface FoldLimits {
  /** Alike audits of an image that stay single within `within`; 0: all do. */
  readonly after: number;
  /** Milliseconds; also the quiet after which audits are single again. */
  readonly within: number;
  /** Milliseconds that a fold takes findings. */
  readonly summaries: number;
}

export interface FoldsOptions {
  readonly limits: FoldLimits;
  /** Most groups of alike audits remembered; beyond it those that rested longest are forgotten. */
  readonly groups: number;
  /** The record of a finding by itself. */
  readonly single: (finding: Finding, container: AuditContainer | null) => AuditRecord;
}

/** Containers that one fold names. */
const MEMBERS = 100;
/** Folds held open; beyond it the oldest is closed early. */
const OPEN_FOLDS = 1_000;
/** Groups are forgotten in so many steps: of the time that they rest, and of their number. */
const FORGET_PARTS = 16;
/** Names in a fold's message. */
const NAMED = 3;

interface Fold {
  readonly group: Group;
  /** Time of the first event, milliseconds since the epoch. */
  readonly since: number;
  readonly members: Map<string, FoldedContainer>;
  /** Message of its first finding. */
  readonly about: string;
  record: AuditRecord;
}

/** Alike audits of one image. */
interface Group {
  /** Time of the latest finding. */
  last: number;
  /** Times of the latest single audits, at most `after`. */
  singles: number[];
  /** Open ones, or empty; at least one was opened when `latest` is not null. */
  folds: Fold[];
  /** Identifier of the latest fold; null while audits are single. */
  latest: string | null;
}

export class Folds {
  readonly #options: FoldsOptions;
  /** In order of their latest activity. */
  readonly #groups = new Map<string, Group>();
  /** In order of opening. */
  readonly #open = new Set<Fold>();
  /** When it is next looked for groups that have rested. */
  #forgetAt = 0;

  constructor(options: FoldsOptions) {
    this.#options = options;
  }

  /** Groups remembered, and folds held open. */
  get size(): { readonly groups: number; readonly folds: number } {
    return { groups: this.#groups.size, folds: this.#open.size };
  }

  /** The open fold that would take `finding`; nothing is changed. */
  find(finding: Finding, container: AuditContainer | null): AuditRecord | undefined {
    if (!this.#folds(finding)) return undefined;
    return this.#taker(this.#group(keyInImage(finding, container), finding.time), finding)?.record;
  }

  /**
   * The fold as it is with `finding` in it, and whether it was opened for it. Null when the finding is to have a record of
   * its own, which is then counted as one of those that stay single.
   */
  add(
    finding: Finding,
    container: AuditContainer | null,
  ): { readonly record: AuditRecord; readonly isNew: boolean } | null {
    if (!this.#folds(finding)) return null;
    const key = keyInImage(finding, container);
    const { time } = finding;
    const known = this.#group(key, time);
    if (known === undefined) this.#forget(key);
    const group = known ?? { last: time, singles: [], folds: [], latest: null };
    group.last = Math.max(group.last, time);
    this.#groups.delete(key);
    this.#groups.set(key, group);
    const { after, within } = this.#options.limits;
    group.singles = group.singles.filter((single) => Math.abs(time - single) < within);
    const isSingle = group.latest === null && group.singles.length < after;
    if (isSingle) group.singles.push(time);
    const taker = isSingle ? undefined : this.#taker(group, finding);
    const fold = taker ?? (isSingle ? null : this.#begin(group, finding, container));
    if (taker !== undefined) raise(taker, finding, container);
    this.#forgetOld(time);
    return fold === null ? null : { record: fold.record, isNew: taker === undefined };
  }

  #folds(finding: Finding): boolean {
    return this.#options.limits.after > 0 && finding.effect !== "block";
  }

  #group(key: string, time: number): Group | undefined {
    const group = this.#groups.get(key);
    return group !== undefined && time - group.last < this.#options.limits.within ? group : undefined;
  }

  #taker(group: Group | undefined, finding: Finding): Fold | undefined {
    const id = finding.container;
    const open = group?.folds.filter((fold) => this.#covers(fold, finding.time)) ?? [];
    return (
      open.find(({ members }) => id !== null && members.has(id)) ??
      open.find(({ members }) => id === null || members.size < MEMBERS)
    );
  }

  #covers(fold: Fold, time: number): boolean {
    return Math.abs(time - fold.since) < this.#options.limits.summaries;
  }

  #begin(group: Group, finding: Finding, container: AuditContainer | null): Fold {
    const single = this.#options.single(finding, container);
    const members = new Map<string, FoldedContainer>();
    if (container !== null) members.set(container.id, memberOf(container, finding.count));
    const record: AuditRecord = {
      ...single,
      message: messageOf(finding.message, container, members),
      fold: { containers: [...members.values()], continues: group.latest },
    };
    const fold: Fold = { group, since: finding.time, members, about: finding.message, record };
    for (const old of group.folds.filter((one) => !this.#covers(one, finding.time))) this.#close(old);
    group.folds.push(fold);
    group.latest = record.id;
    this.#open.add(fold);
    return fold;
  }

  #close(fold: Fold): void {
    this.#open.delete(fold);
    fold.group.folds = fold.group.folds.filter((one) => one !== fold);
  }

  #forget(key: string): void {
    for (const fold of this.#groups.get(key)?.folds ?? []) this.#close(fold);
    this.#groups.delete(key);
  }

  /** Now and then, and many at once: a map whose front is taken away one by one grows slow to look at. */
  #forgetOld(time: number): void {
    const { limits, groups } = this.#options;
    if (this.#groups.size > groups || time >= this.#forgetAt) {
      this.#forgetAt = time + limits.within / FORGET_PARTS;
      const most = this.#groups.size > groups ? groups - Math.floor(groups / FORGET_PARTS) : groups;
      for (const [key, group] of this.#groups) {
        if (time - group.last < limits.within && this.#groups.size <= most) break;
        this.#forget(key);
      }
    }
    for (const fold of this.#open) {
      if (this.#open.size <= OPEN_FOLDS) break;
      this.#close(fold);
    }
  }
}

function raise(fold: Fold, finding: Finding, container: AuditContainer | null): void {
  const { record, members } = fold;
  const known = members.size;
  if (container !== null) {
    const before = members.get(container.id)?.count ?? 0;
    members.set(container.id, memberOf(container, before + finding.count));
  }
  const last = Math.max(Date.parse(record.lastTime), finding.time);
  fold.record = {
    ...record,
    message: members.size === known ? record.message : messageOf(fold.about, record.container, members),
    count: record.count + finding.count,
    lastTime: new Date(last).toISOString(),
    fold: { containers: [...members.values()], continues: record.fold?.continues ?? null },
  };
}

function memberOf({ id, name }: AuditContainer, count: number): FoldedContainer {
  return { id, name, count };
}

/** `many alike in 12 containers of docker.io/library/nginx:1.27 (web-1, web-2, web-3, …): lookup of …`. */
function messageOf(
  about: string,
  first: AuditContainer | null,
  members: ReadonlyMap<string, FoldedContainer>,
): string {
  const names = [...members.values()].slice(0, NAMED).map(({ id, name }) => name || id.slice(0, 12));
  if (names.length === 0) return `many alike: ${about}`;
  if (members.size === 1) return `many alike in ${names[0]}: ${about}`;
  const more = members.size > NAMED ? ", …" : "";
  return `many alike in ${members.size} containers of ${first?.image ?? ""} (${names.join(", ")}${more}): ${about}`;
}
