/** Durations and sizes as operators write them: a number and its unit, `1h30m`, `64MiB`. */

const DURATIONS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
};
const SIZES: Readonly<Record<string, number>> = {
  B: 1,
  kB: 1000,
  MB: 1000 ** 2,
  GB: 1000 ** 3,
  KiB: 1024,
  MiB: 1024 ** 2,
  GiB: 1024 ** 3,
};

/** Milliseconds in `500ms`, `1.5s`, `1h30m`, `30d`, `0`; null when it is no duration. */
export function parseDuration(text: string): number | null {
  if (text === "0") return 0;
  if (!/^(?:\d{1,9}(?:\.\d{1,3})?(?:ms|s|m|h|d|w))+$/.test(text)) return null;
  let total = 0;
  for (const [, count = "", unit = ""] of text.matchAll(/([\d.]+)([a-z]+)/g)) {
    total += Number(count) * (DURATIONS[unit] ?? Number.NaN);
  }
  return Math.round(total);
}

/** Bytes in `512KiB`, `64MiB`, `1.5GB`; null when it is no size. */
export function parseSize(text: string): number | null {
  const parts = /^(\d{1,9}(?:\.\d{1,3})?) ?(B|kB|MB|GB|KiB|MiB|GiB)$/.exec(text);
  if (parts === null) return null;
  return Math.round(Number(parts[1]) * (SIZES[parts[2] ?? ""] ?? Number.NaN));
}
