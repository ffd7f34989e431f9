/**
 * Folds alike findings, in two steps. The same container, attack type, effect, rule and subject within a window raise the
 * count of the record that is open for them instead of opening another. The window runs from a record's first event, so a
 * finding that never stops gives one record per window, and each tells its own stretch of time. Where that gives many
 * alike records of one image, they are folded once more (fold.ts). Pure: time is that of the findings.
 */
import type { Finding } from "../policy/types.ts";
import { keyInContainer } from "./alike.ts";
import { type FoldLimits, Folds } from "./fold.ts";
import type { AuditContainer, AuditRecord } from "./record.ts";

export interface AggregatorOptions {
  /** Name of this host, written into every record. */
  readonly host: string;
  /** Milliseconds a record stays open; 0: each finding has its own. */
  readonly window: number;
  /** Most records held open; beyond it the oldest are closed early. As many groups of alike records are remembered. */
  readonly limit: number;
  readonly fold: FoldLimits;
  /** Makes the identifier of a record that opens at `time`. */
  readonly identifier: (time: number) => string;
}

/** Records are closed in so many steps: of the window, and of their number. */
const CLOSE_PARTS = 16;

interface Open {
  /** Time of the first event, milliseconds since the epoch. */
  readonly since: number;
  /** Time of the latest event. */
  until: number;
  record: AuditRecord;
}

export class Aggregator {
  readonly #options: AggregatorOptions;
  /** In order of opening, so that the oldest are at the front. */
  readonly #open = new Map<string, Open>();
  readonly #folds: Folds;
  /** When it is next looked for records whose window is over. */
  #closeAt = 0;

  constructor(options: AggregatorOptions) {
    this.#options = options;
    this.#folds = new Folds({
      limits: options.fold,
      groups: options.limit,
      single: (finding, container) => recordOf(finding, container, options),
    });
  }

  /** Records held open for one container each; groups of alike records remembered; folds held open. */
  get size(): { readonly records: number; readonly groups: number; readonly folds: number } {
    return { records: this.#open.size, ...this.#folds.size };
  }

  /** The open record that `finding` would be folded into; nothing is changed. */
  find(finding: Finding, container: AuditContainer | null): AuditRecord | undefined {
    return (
      this.#covering(keyInContainer(finding), finding.time)?.record ?? this.#folds.find(finding, container)
    );
  }

  /** The record as it is with `finding` in it. `isNew`: it was opened for this finding. */
  add(finding: Finding, container: AuditContainer | null): { record: AuditRecord; isNew: boolean } {
    const key = keyInContainer(finding);
    const open = this.#covering(key, finding.time);
    if (open !== undefined) {
      open.until = Math.max(open.until, finding.time);
      open.record = {
        ...open.record,
        count: open.record.count + finding.count,
        lastTime: new Date(open.until).toISOString(),
      };
      return { record: open.record, isNew: false };
    }
    const folded = this.#folds.add(finding, container);
    if (folded !== null) return folded;
    const record = recordOf(finding, container, this.#options);
    this.#open.delete(key);
    this.#open.set(key, { since: finding.time, until: finding.time, record });
    this.#closeOld(finding.time);
    return { record, isNew: true };
  }

  #covering(key: string, time: number): Open | undefined {
    const open = this.#open.get(key);
    return open !== undefined && Math.abs(time - open.since) < this.#options.window ? open : undefined;
  }

  /** Now and then, and many at once: a map whose front is taken away one by one grows slow to look at. */
  #closeOld(time: number): void {
    const { limit, window } = this.#options;
    if (this.#open.size <= limit && time < this.#closeAt) return;
    this.#closeAt = time + window / CLOSE_PARTS;
    const most = this.#open.size > limit ? limit - Math.floor(limit / CLOSE_PARTS) : limit;
    for (const [key, open] of this.#open) {
      if (time - open.since < window && this.#open.size <= most) return;
      this.#open.delete(key);
    }
  }
}

function recordOf(
  finding: Finding,
  container: AuditContainer | null,
  options: AggregatorOptions,
): AuditRecord {
  const time = new Date(finding.time).toISOString();
  return {
    id: options.identifier(finding.time),
    time,
    host: options.host,
    type: finding.type,
    attackType: finding.attackType,
    effect: finding.effect,
    container,
    rule: finding.rule,
    message: finding.message,
    count: finding.count,
    lastTime: time,
    dns: finding.dns,
    connection: finding.connection,
    reasons: finding.reasons,
    revision: finding.revision,
  };
}
