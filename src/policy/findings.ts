/** What speaks about an event, weighed: candidates for its finding, and feed hits in order of severity. */
import { type AttackType, EFFECTS, type Effect, type FeedHit, type Reason } from "./types.ts";

export type ActiveEffect = Exclude<Effect, "disable">;

/** One subject of an event that was found wanting. */
export interface Candidate {
  readonly effect: ActiveEffect;
  readonly attackType: AttackType;
  readonly reasons: readonly Reason[];
}

/** Between candidates of one effect the earlier type here decides. */
const PRECEDENCE: readonly AttackType[] = [
  "explicitlyDeniedDNS",
  "explicitlyDeniedIP",
  "explicitlyDeniedOutboundPort",
  "explicitlyDeniedListeningPort",
  "feedDNS",
  "feedIP",
  "unexpectedDNS",
  "unexpectedOutboundPort",
  "unexpectedListeningPort",
  "dnsRebinding",
  "encryptedDNS",
  "unresolvedDestination",
  "rawSocket",
];

export function drops(effect: Effect): boolean {
  return effect === "prevent" || effect === "block";
}

/** Parts whose effect is `disable` never get here: compileRule leaves their lists out. */
export function candidate(effect: Effect, attackType: AttackType, reasons: readonly Reason[]): Candidate {
  if (effect === "disable") throw new Error(`a disabled part of the rule spoke (${attackType})`);
  return { effect, attackType, reasons };
}

/** The effect on what cannot be prevented since it is there already: told as an alert then. `block` stays. */
export function tellable(effect: Effect): Effect {
  return effect === "prevent" ? "alert" : effect;
}

export function hitEffect(hit: FeedHit, intelligence: Effect): Effect {
  return hit.effect ?? intelligence;
}

/** Most severe first; feeds of one effect stay in the order of the index. */
export function rankHits(hits: readonly FeedHit[], intelligence: Effect): readonly FeedHit[] {
  if (hits.length < 2) return hits;
  const severity = (hit: FeedHit): number => EFFECTS.indexOf(hitEffect(hit, intelligence));
  return hits.toSorted((a, b) => severity(b) - severity(a));
}

export function feedReason(hit: FeedHit, subject?: string): Reason {
  const reason: Reason = { kind: "feed", feed: hit.feed, entry: hit.entry, match: hit.match };
  return subject === undefined ? reason : { ...reason, subject };
}

/** The most severe first; between equals the order of PRECEDENCE, then that in which they were found. */
export function rankCandidates(candidates: readonly Candidate[]): readonly Candidate[] {
  if (candidates.length < 2) return candidates;
  return candidates.toSorted(
    (a, b) =>
      EFFECTS.indexOf(b.effect) - EFFECTS.indexOf(a.effect) ||
      PRECEDENCE.indexOf(a.attackType) - PRECEDENCE.indexOf(b.attackType),
  );
}
