/**
 * Which open incidents close without an operator, so that what nobody closes does not pile up: those without new evidence for
 * long, those whose container has been gone for long, and, beyond a bound on how many are open, the one that has rested
 * longest. Pure but for what it is told of containers; since when one is gone is counted from the first look that missed it,
 * also after a restart.
 */
import type { Incident } from "./incident-record.ts";

export interface IncidentLimits {
  /** Milliseconds without new evidence, or an acknowledgement, until an incident closes; 0: never. */
  readonly closeAfter: number;
  /** Milliseconds that its container has to be gone; 0: never. */
  readonly closeGoneAfter: number;
  /** Most that are open at once. */
  readonly limit: number;
  /** Milliseconds that closed ones are kept. */
  readonly retention: { readonly age: number };
}

/** Why an incident closed by itself. */
export type ClosingReason = "rested" | "containerGone" | "crowded";

export interface Closing {
  readonly incident: Incident;
  readonly reason: ClosingReason;
  /** Says so, and what an operator had noted before. */
  readonly note: string;
}

const HOUR = 3_600_000;
const BY_ITSELF = "closed by itself: ";
const BEFORE = "; noted before: ";

export class IncidentUpkeep {
  readonly #limits: IncidentLimits;
  readonly #containers: () => ReadonlySet<string> | null;
  /** Container -> when it was first missed, milliseconds since the epoch. */
  #missed = new Map<string, number>();

  /** `containers`: identifiers of those that exist, running or not; null while that is not known. */
  constructor(limits: IncidentLimits, containers: () => ReadonlySet<string> | null) {
    this.#limits = limits;
    this.#containers = containers;
  }

  /** To be asked at regular times with all that are open. `now`: milliseconds since the epoch. */
  due(open: readonly Incident[], now: number): readonly Closing[] {
    const { closeAfter, closeGoneAfter } = this.#limits;
    const isKnown = this.#look(open, now);
    return open.flatMap((incident): Closing[] => {
      if (closeAfter > 0 && now - restingSince(incident) >= closeAfter) {
        return [closing(incident, "rested", `no new evidence for ${span(closeAfter)}`)];
      }
      const missed = isKnown ? this.#missed.get(incident.container.id) : undefined;
      if (closeGoneAfter > 0 && missed !== undefined && now - missed >= closeGoneAfter) {
        return [closing(incident, "containerGone", `its container was gone for ${span(closeGoneAfter)}`)];
      }
      return [];
    });
  }

  /** Those that give way to others; `latest`, the identifier of the one that opened last, does not. */
  crowded(open: readonly Incident[], latest: string | null): readonly Closing[] {
    const { limit } = this.#limits;
    if (open.length <= limit) return [];
    return open
      .filter(({ id }) => id !== latest)
      .sort((a, b) => restingSince(a) - restingSince(b))
      .slice(0, open.length - limit)
      .map((incident) =>
        closing(incident, "crowded", `more than ${limit} were open, and it had rested longest`),
      );
  }

  /** Whether it is known which containers exist. */
  #look(open: readonly Incident[], now: number): boolean {
    const present = this.#containers();
    if (present === null) return false;
    const absent = open.map(({ container }) => container.id).filter((id) => !present.has(id));
    this.#missed = new Map(absent.map((id) => [id, this.#missed.get(id) ?? now]));
    return true;
  }
}

function restingSince({ lastAt, acknowledgedAt }: Incident): number {
  return Math.max(Date.parse(lastAt), acknowledgedAt === null ? 0 : Date.parse(acknowledgedAt));
}

function closing(incident: Incident, reason: ClosingReason, why: string): Closing {
  const { note } = incident;
  const itself = note?.startsWith(BY_ITSELF) === true;
  const at = itself ? (note?.indexOf(BEFORE) ?? -1) : -1;
  const noted = itself ? (at < 0 ? null : (note?.slice(at + BEFORE.length) ?? null)) : note;
  return { incident, reason, note: BY_ITSELF + why + (noted === null ? "" : BEFORE + noted) };
}

/** `7 d`, `36 h`, `90 min`. */
function span(milliseconds: number): string {
  if (milliseconds % (24 * HOUR) === 0) return `${milliseconds / (24 * HOUR)} d`;
  if (milliseconds % HOUR === 0) return `${milliseconds / HOUR} h`;
  return `${Math.round(milliseconds / 60_000)} min`;
}
