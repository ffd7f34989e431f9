/** What a detector found, with what the rule makes of it. */
import type { Detection } from "./detect/types.ts";
import type { Decision, DetectedType, Finding, Policy, Profile, WireName } from "./policy/types.ts";

export interface Weighed {
  readonly decision: Decision;
  /** Null when the rule makes nothing of it. */
  readonly finding: Finding | null;
}

/** `name`: of the lookup it is about. `time`: milliseconds since the epoch. */
export function weighDetection(
  policy: Policy,
  detection: Detection,
  about: {
    readonly container: string;
    readonly profile: Profile;
    readonly name: WireName | null;
    readonly time: number;
  },
): Weighed {
  const { type, message, dns, connection, reasons } = detection;
  const { container, profile, name, time } = about;
  const decision = policy.weigh(profile, detection.attackType as DetectedType, name, reasons);
  const { effect, attackType, rule, revision } = decision;
  if (effect === null || attackType === null) return { decision, finding: null };
  const what = { type, attackType, effect, container, rule, message, dns, connection };
  return { decision, finding: { time, ...what, reasons: decision.reasons, revision, count: 1 } };
}
