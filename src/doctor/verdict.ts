/** What a check says. */

/** `unknown`: it could not be told, mostly for want of rights. */
export type Level = "ok" | "warning" | "problem" | "unknown";

export interface Verdict {
  /** Name of the check; one may have several verdicts. */
  readonly check: string;
  readonly level: Level;
  readonly message: string;
  /** What to do; null where there is nothing. */
  readonly remedy: string | null;
}

/** The verdicts of one check. */
export function verdictsOf(check: string) {
  const say =
    (level: Level) =>
    (message: string, remedy: string | null = null): Verdict => ({ check, level, message, remedy });
  return { ok: say("ok"), warning: say("warning"), problem: say("problem"), unknown: say("unknown") };
}
