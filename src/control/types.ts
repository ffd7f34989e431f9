/** What the control API tells, and what it has to be handed to be able to. Shapes are those of schema.ts. */
import type { z } from "zod";
import type { AuditFilter } from "../audit/filter.ts";
import type { AuditRecord } from "../audit/record.ts";
import type { ModelFile } from "../model/transfer.ts";
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
/** What an operator may have done to a model; times in seconds. */
export type ModelChange = Plain<z.infer<typeof schema.modelChange>>;
export type IncidentSummary = Plain<z.infer<typeof schema.incidentSummary>>;
export type IncidentReport = Plain<z.infer<typeof schema.incident>>;
export type EvidenceSummary = Plain<z.infer<typeof schema.evidenceSummary>>;
export type EvidenceReport = Plain<z.infer<typeof schema.evidence>>;
export type FeedReport = Plain<z.infer<typeof schema.feedReport>>;
export type PolicyReport = Omit<Plain<z.infer<typeof schema.policyReport>>, "rules"> & {
  readonly rules: readonly RuleFile[];
};
export type PolicyNotice = Plain<z.infer<typeof schema.notice>>;
/** A reload that was accepted; one that was refused throws TM_POLICY, TM_CONFIG or TM_FEED. */
export type ReloadOutcome = Plain<z.infer<typeof schema.reloadOutcome>>;
export type WhyReport = Plain<z.infer<typeof schema.whyReport>>;
export type Judgement = Plain<z.infer<typeof schema.judgement>>;
export type ReplayReport = Plain<z.infer<typeof schema.replayReport>>;
export interface ReplayRequest {
  /** Text of a policy.yaml, and what it is called in messages. */
  readonly text: string;
  readonly file: string;
  /** Milliseconds since the epoch. */
  readonly since: number;
}
export type ExemptionReport = Plain<z.infer<typeof schema.exemption>>;
/** What was given; `notes`: what keeps it from having an effect. */
export type ExemptionOutcome = Plain<z.infer<typeof schema.givenExemption>>;
export interface ExemptionRequest {
  /** A name pattern, or ADDRESS[:PORT[/PROTOCOL]]. */
  readonly target: string;
  /** Milliseconds. */
  readonly time: number;
  /** Who gives it, as the caller says. */
  readonly by: string | null;
  readonly note: string | null;
  /** Also where it covers a public suffix. */
  readonly force: boolean;
}
export type UnblockOutcome = Plain<z.infer<typeof schema.unblockOutcome>>;

/**
 * What the daemon hands to the control API. Any of them may throw a TidesmanError, which becomes its HTTP status and
 * `{code, message}`. Containers are named by name, by id, or by the first characters of an id.
 */
export interface ControlDependencies {
  status(): Promise<StatusReport>;
  containers(): Promise<readonly ContainerReport[]>;
  models(): Promise<readonly ModelReport[]>;
  /**
   * By key, by an unambiguous beginning of it (`sha256:` may be left out) or by image name; null when there is none. So
   * are the models of `changeModel` and `exportModel` found.
   */
  model(key: string): Promise<ModelDetail | null>;
  /** Throws TM_USAGE for a locked model, TM_NOT_FOUND for an entry that it does not hold. */
  changeModel(key: string, change: ModelChange): Promise<ModelReport | null>;
  exportModel(key: string): Promise<ModelFile | null>;
  /** Checks the file, and locks the model. Throws TM_USAGE with what is wrong with it. */
  importModel(file: unknown): Promise<ModelReport>;
  /** Bytes of the largest file that `importModel` is to be asked for. */
  readonly maxModelFile: number;
  audits(filter: AuditFilter): Promise<readonly AuditRecord[]>;
  /** Calls back after each commit; `isNew` is false when only the count rose. Returns the unsubscriber. */
  subscribe(listener: (record: AuditRecord, isNew: boolean) => void): () => void;
  /**
   * Calls back when an incident opens, for the first time or again (`isNew`), has more evidence, or was acknowledged or
   * closed. Returns the unsubscriber.
   */
  subscribeIncidents(listener: (incident: IncidentSummary, isNew: boolean) => void): () => void;
  /** The open ones, or all; the latest first. */
  incidents(all: boolean): Promise<readonly IncidentSummary[]>;
  /** By identifier or its unambiguous beginning. Throws TM_NOT_FOUND; as do those below. */
  incident(id: string): Promise<IncidentReport>;
  acknowledgeIncident(id: string, note: string | null): Promise<IncidentReport>;
  /** Throws TM_USAGE for one that is closed. */
  closeIncident(id: string, note: string): Promise<IncidentReport>;
  /** The latest first. */
  evidenceList(): Promise<readonly EvidenceSummary[]>;
  /** By its identifier, or the latest of a container. Throws TM_NOT_FOUND. */
  evidence(which: string): Promise<EvidenceReport>;
  feeds(): Promise<readonly FeedReport[]>;
  /** Fetches and reads all feeds and puts them in force; a feed that fails has an `error` and keeps its last form. */
  updateFeeds(): Promise<readonly FeedReport[]>;
  /** Puts in force what an update has left on the disk. Throws TM_FEED when there is nothing. */
  loadFeeds(): Promise<readonly FeedReport[]>;
  policy(): Promise<PolicyReport>;
  /** Reads policy.yaml again. Throws TM_POLICY when it is refused; the running policy stays. */
  reload(): Promise<ReloadOutcome>;
  /** What would have gone otherwise under a policy that is not in force. Throws TM_POLICY for one with mistakes, TM_STORE. */
  replay(request: ReplayRequest): Promise<ReplayReport>;
  /** Decides without acting. Throws TM_NOT_FOUND for an unknown container. */
  why(container: string, target: WhyTarget): Promise<WhyReport>;
  /** In the order in which they end. */
  exemptions(): Promise<readonly ExemptionReport[]>;
  /** Lets a container reach something for a time. Throws TM_NOT_FOUND, TM_STORE, and TM_USAGE for what may not be given. */
  exempt(container: string, request: ExemptionRequest): Promise<ExemptionOutcome>;
  /** Ends one before its time, or (null) all of the container. Throws TM_NOT_FOUND when there is none. */
  withdrawExemptions(
    container: string,
    target: string | null,
    by: string | null,
  ): Promise<readonly ExemptionReport[]>;
  /** Undoes a block. Throws TM_NOT_FOUND for an unknown container or one that is not blocked. */
  unblock(container: string): Promise<UnblockOutcome>;
}
