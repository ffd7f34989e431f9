/**
 * What happened, judged again: what would another policy change?
 *
 * What is kept of what happened is in three places. Audits tell what was found, with the container's facts and, of a lookup, where
 * it led. Models tell what they learned: names that were looked up and answered, ports and inner places that were used, without
 * when or how often. And what containers resolved in the last ten minutes or longer is bound to its addresses yet, whatever
 * became of it. What else passed is not kept, so that a change about it is not found here.
 *
 * Both policies judge by the feeds and models in force now, and only the difference between them is told: else what feeds and
 * models have changed since would be put down to the new policy. How much that is, is counted beside it.
 *
 * Audits come in pages, and what is remembered of changes is bounded, so that memory is too. Between portions others have their
 * turn: the thread it runs on has more to do.
 */
import type { AuditFilter } from "../audit/filter.ts";
import type { AuditContainer, AuditRecord } from "../audit/record.ts";
import type { ModelDetail } from "../model/store.ts";
import type { Address, ContainerFacts, ModelView, Policy, Profile } from "../policy/types.ts";
import { changeOf, type Happening, judge } from "./judge.ts";
import { learnedOf, resolvedAs } from "./learned.ts";
import { happeningOf, sharesOf } from "./recorded.ts";
import { type Source, Tally } from "./tally.ts";

/** Audits read at a time, and happenings judged without a pause. */
const PAGE = 1_000;

export interface ReplayOptions {
  /** In force, and the one in question. Of the same feeds. */
  readonly before: Policy;
  readonly after: Policy;
  /** Milliseconds since the epoch. */
  readonly since: number;
  readonly until: number;
  readonly audits: (filter: AuditFilter) => Promise<readonly AuditRecord[]>;
  readonly models: {
    keys(): readonly string[];
    show(key: string): ModelDetail | undefined;
    view(key: string): ModelView | null;
    keyOf(container: ContainerFacts): string | null;
  };
  /** Names that the container resolved lately, and where they led; text. */
  readonly resolved: (container: string) => Promise<readonly ResolvedName[]>;
  /** Those there are now. */
  readonly containers: readonly AuditContainer[];
  readonly internet: (address: Address) => boolean;
  /** Lets others have their turn. */
  readonly pause: () => Promise<void>;
}

export interface ResolvedName {
  readonly name: string;
  readonly addresses: readonly string[];
}

export interface ReplaySample {
  readonly audits: number;
  /** The sum of their counts. */
  readonly findings: number;
  /** Of these, those that no rule decided, or of which too little was kept. */
  readonly unjudged: number;
  /** Those that the policy in force would tell otherwise today: feeds, models or rules have changed since. */
  readonly drifted: number;
  /** Those whose container's labels were taken from another one of its image. */
  readonly guessed: number;
  readonly models: number;
  /** Models whose image no container has now: whom they are about is not known. */
  readonly idleModels: number;
  readonly entries: number;
  readonly unjudgedEntries: number;
  /** Names that containers resolved lately, aliases among them. */
  readonly lookups: number;
}

export interface Replayed {
  readonly sample: ReplaySample;
  readonly tally: Tally;
}

export async function replay(options: ReplayOptions): Promise<Replayed> {
  const tally = new Tally();
  const audits = await replayAudits(options, tally);
  const models = await replayModels(options, tally);
  const lookups = await replayLookups(options, tally);
  return { sample: { ...audits, ...models, lookups }, tally };
}

type AuditSample = Pick<ReplaySample, "audits" | "findings" | "unjudged" | "drifted" | "guessed">;

async function replayAudits(options: ReplayOptions, tally: Tally): Promise<AuditSample> {
  const { before, after, since, until, audits, models, internet } = options;
  const existing = new Map(options.containers.map((container) => [container.id, container]));
  const sample = { audits: 0, findings: 0, unjudged: 0, drifted: 0, guessed: 0 };
  for (let last = ""; ; ) {
    const page = await audits({ since, until, after: last, limit: PAGE });
    for (const record of page) {
      sample.audits++;
      sample.findings += record.count;
      const happening = happeningOf(record, internet);
      if (happening === null) {
        sample.unjudged += record.count;
        continue;
      }
      for (const { container, count, guessed } of sharesOf(record, (id) => existing.get(id))) {
        if (guessed) sample.guessed += count;
        const key = models.keyOf(container);
        const model = key === null ? null : models.view(key);
        const was = judge(before, before.profileFor(container, model), happening);
        const is = judge(after, after.profileFor(container, model), happening);
        if (was.effect !== record.effect && !wasSpared(record)) sample.drifted += count;
        const change = changeOf(happening, was, is);
        if (change === null) continue;
        const { image, name } = container;
        tally.add({ change, source: "audits", image, containers: [name], before: was, after: is, count });
      }
    }
    last = page.at(-1)?.id ?? last;
    if (page.length < PAGE) return sample;
    await options.pause();
  }
}

/** What would have been a block, but for the circuit breaker. */
function wasSpared({ reasons }: AuditRecord): boolean {
  return reasons.some(({ kind }) => kind === "breaker");
}

type ModelSample = Pick<ReplaySample, "models" | "idleModels" | "entries" | "unjudgedEntries">;

async function replayModels(options: ReplayOptions, tally: Tally): Promise<ModelSample> {
  const { models } = options;
  const sample = { models: 0, idleModels: 0, entries: 0, unjudgedEntries: 0 };
  const containers = Map.groupBy(options.containers, (container) => models.keyOf(container) ?? "");
  for (const key of models.keys()) {
    const sharing = containers.get(key);
    const detail = sharing === undefined ? undefined : models.show(key);
    if (sharing === undefined || detail === undefined) {
      sample.idleModels++;
      continue;
    }
    const [happenings, unjudged] = learnedOf(detail);
    sample.models++;
    sample.entries += happenings.length + unjudged;
    sample.unjudgedEntries += unjudged;
    for (const alike of governedAlike(options, sharing, models.view(key))) {
      for (let at = 0; at < happenings.length; at += PAGE) {
        for (const happening of happenings.slice(at, at + PAGE))
          tallyOne(options, tally, "models", alike, happening);
        await options.pause();
      }
    }
  }
  return sample;
}

/** Containers of one model of which both policies say the same. */
interface Alike {
  readonly before: Profile;
  readonly after: Profile;
  readonly image: string;
  readonly containers: string[];
}

/** Profiles are shared by containers with the same rule and model, so that few are judged for many. */
function governedAlike(
  { before, after }: ReplayOptions,
  sharing: readonly AuditContainer[],
  model: ModelView | null,
): readonly Alike[] {
  const groups = new Map<string, Alike>();
  for (const container of sharing) {
    const profiles = {
      before: before.profileFor(container, model),
      after: after.profileFor(container, model),
    };
    const key = `${profiles.before.index} ${profiles.after.index}`;
    const group = groups.get(key) ?? { ...profiles, image: container.image, containers: [] };
    group.containers.push(container.name);
    groups.set(key, group);
  }
  return [...groups.values()];
}

/** Returns how many. */
async function replayLookups(options: ReplayOptions, tally: Tally): Promise<number> {
  const { models, containers, resolved } = options;
  let count = 0;
  for (const container of containers) {
    const key = models.keyOf(container);
    const [alike] = governedAlike(options, [container], key === null ? null : models.view(key));
    for (const { name, addresses } of await resolved(container.id)) {
      const happening = resolvedAs(name, addresses);
      if (happening === null || alike === undefined) continue;
      count++;
      tallyOne(options, tally, "lookups", alike, happening);
    }
  }
  return count;
}

function tallyOne(
  { before, after }: ReplayOptions,
  tally: Tally,
  source: Source,
  alike: Alike,
  happening: Happening,
): void {
  const was = judge(before, alike.before, happening);
  const is = judge(after, alike.after, happening);
  const change = changeOf(happening, was, is);
  if (change === null) return;
  const { image, containers } = alike;
  tally.add({ change, source, image, containers, before: was, after: is, count: 1 });
}
