/** What the control API tells, and what it has to be handed to be able to. Shapes are those of schema.ts. */
import type { z } from "zod";
import type { AuditFilter } from "../audit/filter.ts";
import type { AuditRecord } from "../audit/record.ts";
import type { RuleFile } from "../policy/schema.ts";
import type * as schema from "./schema.ts";
import type { WhyTarget } from "./target.ts";

/** Plain data that its reader does not change. */
type Plain<T> = T extends readonly (infer Item)[]
  ? readonly Plain<Item>[]
  : T extends object
    ? { readonly [Key in keyof T]: Plain<T[Key]> }
    : T;

export type StatusReport = Plain<z.infer<typeof schema.statusReport>>;
export type ContainerReport = Plain<z.infer<typeof schema.containerReport>>;
export type ModelReport = Plain<z.infer<typeof schema.modelReport>>;
/** A model with all it holds. */
export type ModelDetail = Plain<z.infer<typeof schema.modelDetail>>;
export type FeedReport = Plain<z.infer<typeof schema.feedReport>>;
export type PolicyReport = Omit<Plain<z.infer<typeof schema.policyReport>>, "rules"> & {
  readonly rules: readonly RuleFile[];
};
export type PolicyNotice = Plain<z.infer<typeof schema.notice>>;
/** A reload that was accepted; one that was refused throws TM_POLICY, TM_CONFIG or TM_FEED. */
export type ReloadOutcome = Plain<z.infer<typeof schema.reloadOutcome>>;
export type WhyReport = Plain<z.infer<typeof schema.whyReport>>;
export type Judgement = Plain<z.infer<typeof schema.judgement>>;
export type UnblockOutcome = Plain<z.infer<typeof schema.unblockOutcome>>;

/**
 * What the daemon hands to the control API. Any of them may throw a TidesmanError, which becomes its HTTP status and
 * `{code, message}`. Containers are named by name, by id, or by the first characters of an id.
 */
export interface ControlDependencies {
  status(): Promise<StatusReport>;
  containers(): Promise<readonly ContainerReport[]>;
  models(): Promise<readonly ModelReport[]>;
  /** By key or by an unambiguous beginning of it (`sha256:` may be left out); null when there is none. */
  model(key: string): Promise<ModelDetail | null>;
  audits(filter: AuditFilter): Promise<readonly AuditRecord[]>;
  /** Calls back after each commit; `isNew` is false when only the count rose. Returns the unsubscriber. */
  subscribe(listener: (record: AuditRecord, isNew: boolean) => void): () => void;
  feeds(): Promise<readonly FeedReport[]>;
  /** Fetches and reads all feeds and puts them in force; a feed that fails has an `error` and keeps its last form. */
  updateFeeds(): Promise<readonly FeedReport[]>;
  /** Puts in force what an update has left on the disk. Throws TM_FEED when there is nothing. */
  loadFeeds(): Promise<readonly FeedReport[]>;
  policy(): Promise<PolicyReport>;
  /** Reads policy.yaml again. Throws TM_POLICY when it is refused; the running policy stays. */
  reload(): Promise<ReloadOutcome>;
  /** Decides without acting. Throws TM_NOT_FOUND for an unknown container. */
  why(container: string, target: WhyTarget): Promise<WhyReport>;
  /** Undoes a block. Throws TM_NOT_FOUND for an unknown container or one that is not blocked. */
  unblock(container: string): Promise<UnblockOutcome>;
}
