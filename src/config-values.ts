/** Kinds of values in tidesman.yaml. The title of each is what the documentation says is allowed. */
import { z } from "zod";
import { parseAddress } from "./address.ts";
import { quote } from "./issues.ts";
import { parseAddressEntry } from "./policy/prefixes.ts";
import { parseDuration, parseSize } from "./quantity.ts";

const DAY = 86_400_000;

export function whole(min: number, max: number) {
  return z
    .int()
    .min(min)
    .max(max)
    .meta({ title: `${min} to ${max}` });
}

function quantity(kind: string, parse: (text: string) => number | null, sample: string, [min, max]: Range) {
  return z
    .union([z.string(), z.number()], { error: `is no ${kind}; write a number and its unit: ${sample}` })
    .transform((value, context) => {
      const amount = parse(String(value));
      if (amount === null || amount < (parse(min) ?? 0) || amount > (parse(max) ?? 0)) {
        const what = amount === null ? `is no ${kind}` : "is out of range";
        context.addIssue(`${quote(value)} ${what}; ${min} to ${max} is allowed, with a unit: ${sample}`);
        return z.NEVER;
      }
      return amount;
    })
    .meta({ title: `${kind}, ${min} to ${max}` });
}
type Range = readonly [min: string, max: string];

export const duration = (...range: Range) =>
  quantity("duration", parseDuration, "`500ms`, `30s`, `1h30m`, `7d`", range);
export const size = (...range: Range) => quantity("size", parseSize, "`512KiB`, `64MiB`, `1GiB`", range);

/** TTLs are seconds, as in DNS; a duration is understood too. */
export const ttl = z
  .union([z.string(), z.number()], { error: "is no TTL; seconds or a duration are allowed: `900`, `15m`" })
  .transform((value, context) => {
    const seconds = typeof value === "number" ? value : (parseDuration(value) ?? Number.NaN) / 1000;
    if (Number.isInteger(seconds) && seconds >= 0 && seconds * 1000 <= 7 * DAY) return seconds;
    context.addIssue(
      `${quote(value)} is no TTL; 0 to 604800 seconds are allowed, or a duration: \`900\`, \`15m\``,
    );
    return z.NEVER;
  })
  .meta({ title: "seconds or duration, 0 to 7d" });

export function text(title: string, fits: (value: string) => boolean) {
  return z
    .string()
    .superRefine((value, context) => {
      if (!fits(value)) context.addIssue(`${quote(value)} is not allowed here; allowed: ${title}`);
    })
    .meta({ title });
}

export const address = (family: 4 | 6 | null) =>
  text(family === null ? "IPv4 or IPv6 address" : `IPv${family} address`, (value) => {
    const length = parseAddress(value)?.length;
    return length !== undefined && (family === null || length === (family === 4 ? 4 : 16));
  });
export const absolutePath = text("absolute path", (value) => /^\/[^\0]*$/.test(value));
/** What `sun_path` holds (unix(7): 108 bytes, the last one a zero). */
export const socketPath = text(
  "absolute path of 107 bytes at most",
  (value) => /^\/[^\0]*$/.test(value) && Buffer.byteLength(value) <= 107,
);
export const upstream = text("`ADDRESS`, `ADDRESS:PORT` or `[ADDRESS]:PORT`", (value) => {
  if (isServer(value)) return true;
  const parts = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d{1,5}))?$/.exec(value);
  const port = Number(parts?.[3] ?? 53);
  return isServer(parts?.[1] ?? parts?.[2] ?? "") && port >= 1 && port <= 65535;
});
/** A link-local server is reached through an interface, named by its zone (`fe80::1%eth0`). */
function isServer(value: string): boolean {
  const zone = /^(.*:.*)%[A-Za-z0-9_.-]+$/.exec(value);
  return parseAddress(zone?.[1] ?? value) !== null;
}
// These go into firewall rules as they are. `+` alone would be every interface of the host.
export const bridge = text(
  "interface name of 1 to 15 characters; a `+` at its end stands for any ending (`br-+`)",
  (value) => /^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}\+?$/.test(value) && value.length <= 15 && value !== "lo",
);
export const internalPrefix = text(
  "IPv4 or IPv6 prefix",
  (value) => typeof parseAddressEntry(value) !== "string",
);
export const hostName = text("letters, digits, `.`, `_` and `-`", (value) =>
  /^[A-Za-z0-9][A-Za-z0-9._-]{0,252}$/.test(value),
);
export const group = text("group name", (value) => /^[a-z_][a-z0-9_-]{0,31}$/.test(value));
const ACTIONS = { stop: "stop", pause: "pause", isolate: "isolate", kill: "stop" } as const;
/** `kill`: what `stop` was called first. */
export const blockAction = z
  .enum(["stop", "pause", "isolate", "kill"])
  .transform((word) => ACTIONS[word])
  .meta({ title: "`stop`, `pause`, `isolate`" });
export const markMask = z
  .union([z.number(), z.string()], { error: "is no mark mask; two adjacent bits are allowed: `0x30000`" })
  .transform((value, context) => {
    const mask = typeof value === "string" && /^0x[0-9a-f]{1,8}$/i.test(value) ? Number(value) : value;
    const twoBits = Array.from({ length: 31 }, (_, bit) => 3 * 2 ** bit);
    if (typeof mask === "number" && twoBits.includes(mask)) return mask;
    context.addIssue(
      `${quote(value)} is not two adjacent bits of 32; allowed: \`0x3\`, \`0x30000\`, … \`0xc0000000\``,
    );
    return z.NEVER;
  })
  .meta({ title: "two adjacent bits of 32" });
