/** Moments as an operator writes them, and durations as one reads them. */
import { TidesmanError } from "../errors.ts";
import { parseDuration } from "../quantity.ts";

/**
 * Milliseconds since the epoch of `1h` (that long before `now`, not before the epoch), of an ISO 8601 date or time, or of such a number.
 * Throws TM_USAGE, naming `what` was being read.
 */
export function parseMoment(text: string, now: number, what: string): number {
  // A bare 0 may mean now as well as the epoch.
  const duration = text === "0" ? null : parseDuration(text);
  if (duration !== null) return Math.max(0, now - duration);
  if (/^\d{12,14}$/.test(text)) return Number(text);
  const moment = /^\d{4}-\d{2}-\d{2}/.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isFinite(moment)) return moment;
  throw new TidesmanError(
    "TM_USAGE",
    `${what} \`${text}\` is no time; give how long ago (90s, 30m, 1h, 2d) or a date (2026-11-24T02:30:00Z)`,
  );
}

/** `45 s`, `12 min`, `3 h 5 min`, `2 d 4 h` for a number of seconds. */
export function formatDuration(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3_600) return `${Math.floor(whole / 60)} min`;
  const [unit, large, small, part] =
    whole < 86_400
      ? (["h", Math.floor(whole / 3_600), Math.floor((whole % 3_600) / 60), "min"] as const)
      : (["d", Math.floor(whole / 86_400), Math.floor((whole % 86_400) / 3_600), "h"] as const);
  return small === 0 ? `${large} ${unit}` : `${large} ${unit} ${small} ${part}`;
}
