/**
 * Whether a list that was read anew takes the place of the one in use. A list that suddenly lost much of itself is more
 * often broken, or emptied by an attacker, than cleaned up: it waits in quarantine, also when it is emptied little by little.
 * What an operator rolled back, and what the feed's `hold` names, waits for approval. The machine has no clock and stores
 * nothing: the standing goes in and out.
 */
import type { DeclaredFeed } from "./types.ts";

/** Lists that lose at most this many entries are never quarantined, whatever share that is: small lists do that. */
export const MAX_SMALL_LOSS = 10;
/** Looks that have to find the list small before it is released, so that one outage behind a long pause is not enough. */
export const MIN_LOOKS = 3;

/** What is kept of a feed between two looks. JSON-able. Times in milliseconds since the epoch. */
export interface Standing {
  /** Digest of the list that is not in use yet, when a look first found it, and how many looks did. */
  readonly candidate: string | null;
  readonly candidateSince: number;
  readonly candidateSeen: number;
  /** When a look first found the list too small, null while it is not; and how many looks did since, under any digest. */
  readonly smallSince: number | null;
  readonly smallSeen: number;
  /** Time of the last look; a second look at the same time counts nothing. */
  readonly lookedAt: number;
  /** Digests that the operator rolled back, and approved. */
  readonly rejected: string | null;
  readonly approved: string | null;
  /** Entries that were in force at a time: within the feed's `quarantine` from then, losses are counted from there. */
  readonly peak: { readonly count: number; readonly at: number } | null;
}

export const NO_STANDING: Standing = Object.freeze({
  candidate: null,
  candidateSince: 0,
  candidateSeen: 0,
  smallSince: null,
  smallSeen: 0,
  lookedAt: 0,
  rejected: null,
  approved: null,
  peak: null,
});

export interface Candidate {
  readonly digest: string;
  readonly count: number;
  /** Entries that came and went, and learned names that are newly hit. */
  readonly changes: number;
  readonly newlyHit: number;
}

export interface InUse {
  readonly digest: string;
  readonly count: number;
  /** When the list was read, for messages; milliseconds since the epoch. */
  readonly readAt?: number;
}

export interface Verdict {
  readonly action: "install" | "keep";
  readonly state: "inUse" | "quarantined" | "held" | "refused";
  /** For operators; empty when the list is installed. */
  readonly message: string;
  readonly standing: Standing;
}

/** The parts of a feed that matter here. */
export type ReleaseTerms = Pick<DeclaredFeed, "name" | "allowEmpty" | "maxShrink" | "quarantine" | "hold">;

/**
 * Judges the list that a look found at `now`. The standing in the verdict replaces the one given. The same look judged
 * again gives the same verdict.
 */
export function judge(
  feed: ReleaseTerms,
  candidate: Candidate,
  inUse: InUse | null,
  standing: Standing,
  now: number,
): Verdict {
  const peak = peakAt(feed, standing, inUse, now);
  if (candidate.digest === inUse?.digest) return installed(standing, candidate, now, peak);
  if (candidate.count === 0 && !feed.allowEmpty) {
    // Nothing is known about how small the list became, so the clock of the quarantine goes on without this look.
    return keep("refused", `${kept(inUse)} the new list has no entries, and \`allowEmpty\` is not set`, {
      ...standing,
      candidate: null,
      candidateSeen: 0,
    });
  }
  const small = peak !== null && isSmall(feed, candidate.count, peak.count);
  const next = look(standing, candidate.digest, small, now);
  // What is taken in spite of what it lost is what later losses are counted from.
  const taken = { count: candidate.count, at: now };
  if (candidate.digest === standing.approved) return installed(next, candidate, now, taken);
  const approve = `\`tidesman feeds approve ${feed.name}\` takes it`;
  const lately =
    peak !== null && peak.count > (inUse?.count ?? 0) ? `; ${entries(peak.count)} at ${time(peak.at)}` : "";
  const about = `${kept(inUse)} the new list has ${difference(candidate, inUse)}${small ? lately : ""}`;
  if (candidate.digest === standing.rejected) {
    return keep("held", `${about}; it was rolled back before; ${approve}`, next);
  }
  if (feed.hold === "always") return keep("held", `${about}; every change is held; ${approve}`, next);
  if (small && next.smallSince !== null) {
    const until = next.smallSince + feed.quarantine;
    if (now < until || next.smallSeen < MIN_LOOKS) {
      const looks =
        now < until ? `until ${time(until)}` : `until ${MIN_LOOKS} looks find it so (${next.smallSeen} did)`;
      return keep("quarantined", `${about}; quarantined ${looks}; ${approve} at once`, next);
    }
  }
  if (inUse !== null && feed.hold === "learned" && candidate.newlyHit > 0) {
    const names = candidate.newlyHit === 1 ? "a learned name" : `${number(candidate.newlyHit)} learned names`;
    return keep("held", `${about}; it newly hits ${names}; ${approve}`, next);
  }
  return installed(next, candidate, now, small ? taken : peakAt(feed, { ...standing, peak }, candidate, now));
}

/** From where losses are counted at `now`: the list in force, or a larger one that was in force lately. */
function peakAt(
  feed: ReleaseTerms,
  { peak }: Standing,
  inUse: Pick<InUse, "count"> | null,
  now: number,
): Standing["peak"] {
  if (inUse === null) return null;
  const lately = peak !== null && peak.at <= now && now - peak.at < feed.quarantine;
  return lately && peak.count > inUse.count ? peak : { count: inUse.count, at: now };
}

/** The operator takes the list that waits; without one, nothing changes. */
export function approve(standing: Standing): Standing {
  const { candidate, rejected } = standing;
  if (candidate === null) return standing;
  return { ...standing, approved: candidate, rejected: rejected === candidate ? null : rejected };
}

/** The operator rolled the list back: it is held should it come again. */
export function reject(standing: Standing, digest: string): Standing {
  return { ...standing, rejected: digest, approved: standing.approved === digest ? null : standing.approved };
}

function isSmall(feed: ReleaseTerms, count: number, inUse: number): boolean {
  const lost = inUse - count;
  return lost > MAX_SMALL_LOSS && lost > inUse * feed.maxShrink;
}

/** Counts one look. A clock that was set back begins the waiting anew. */
function look(standing: Standing, digest: string, small: boolean, now: number): Standing {
  const again = now === standing.lookedAt;
  const same = digest === standing.candidate && standing.candidateSince <= now;
  const stays = standing.smallSince !== null && standing.smallSince <= now;
  return {
    ...standing,
    candidate: digest,
    candidateSince: same ? standing.candidateSince : now,
    candidateSeen: same ? standing.candidateSeen + (again ? 0 : 1) : 1,
    smallSince: small ? (stays ? standing.smallSince : now) : null,
    smallSeen: small ? (stays ? standing.smallSeen + (again ? 0 : 1) : 1) : 0,
    lookedAt: now,
  };
}

function installed(standing: Standing, { digest }: Candidate, now: number, peak: Standing["peak"]): Verdict {
  const approved = standing.approved === digest ? null : standing.approved;
  const { rejected } = standing;
  return {
    action: "install",
    state: "inUse",
    message: "",
    standing: { ...NO_STANDING, lookedAt: now, rejected, approved, peak },
  };
}

function keep(state: Exclude<Verdict["state"], "inUse">, message: string, standing: Standing): Verdict {
  return { action: "keep", state, message, standing };
}

function kept(inUse: InUse | null): string {
  if (inUse === null) return "has no list in use;";
  const read = inUse.readAt === undefined ? "" : ` as read at ${time(inUse.readAt)}`;
  return `keeps ${entries(inUse.count)}${read};`;
}

/** `12 (99 % fewer)`, or `12,400 (87 changes)` where no fewer entries are left. */
function difference({ count, changes }: Candidate, inUse: InUse | null): string {
  if (inUse === null) return entries(count);
  if (count < inUse.count) {
    const share = Math.floor(((inUse.count - count) / inUse.count) * 100);
    return `${number(count)} (${share === 0 ? "under 1" : share} % fewer)`;
  }
  return `${number(count)} (${changes === 1 ? "1 change" : `${number(changes)} changes`})`;
}

function entries(count: number): string {
  return count === 1 ? "1 entry" : `${number(count)} entries`;
}

function number(value: number): string {
  return value.toLocaleString("en-US");
}

function time(at: number): string {
  return new Date(at).toISOString();
}
