/** Which audits are asked for. */
import type { AttackType, Effect } from "../policy/types.ts";

export interface AuditFilter {
  /** Records whose latest event is not before this; milliseconds since the epoch. */
  readonly since?: number;
  /** Records whose first event is not after this; milliseconds since the epoch. */
  readonly until?: number;
  /** Name or id of a container, or the first six or more characters of an id. */
  readonly container?: string;
  readonly attackType?: AttackType;
  readonly effect?: Exclude<Effect, "disable">;
  /** Most records returned; 1–10,000, default 1,000. */
  readonly limit?: number;
  /**
   * Pages forward: only records behind this identifier, the oldest of them first; `""` starts with the oldest.
   * Without it the newest `limit` records are returned. Either way they are in ascending order.
   */
  readonly after?: string;
}

export const DEFAULT_AUDIT_LIMIT = 1_000;
export const MAX_AUDIT_LIMIT = 10_000;
