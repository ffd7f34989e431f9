/** Values of feeds.yaml that are written with a unit. */
import { z } from "zod";
import { quote } from "../../issues.ts";
import { parseDuration, parseSize } from "../../quantity.ts";

type Range = readonly [min: string, max: string];

function quantity(kind: string, parse: (text: string) => number | null, sample: string, [min, max]: Range) {
  return z
    .union([z.string(), z.number()], { error: `is no ${kind}; write a number and its unit: ${sample}` })
    .transform((value, context) => {
      const amount = parse(String(value));
      if (amount !== null && amount >= (parse(min) ?? 0) && amount <= (parse(max) ?? 0)) return amount;
      const what = amount === null ? `is no ${kind}` : "is out of range";
      context.addIssue(`${quote(value)} ${what}; ${min} to ${max} is allowed, with a unit: ${sample}`);
      return z.NEVER;
    });
}

/** Milliseconds. */
export const duration = (...range: Range) => quantity("duration", parseDuration, "`15m`, `6h`, `1d`", range);

/** Bytes. */
export const size = (...range: Range) => quantity("size", parseSize, "`512KiB`, `64MiB`", range);

/** A share from 0 to 1; `50%` is understood too. */
export const share = z
  .union([z.string(), z.number()], { error: "is no share; 0 to 1 is allowed, or a percentage: `50%`" })
  .transform((value, context) => {
    const percent = /^(\d{1,3}(?:\.\d{1,6})?) ?%$/.exec(String(value))?.[1];
    const amount = percent === undefined ? value : Number(percent) / 100;
    if (typeof amount === "number" && amount >= 0 && amount <= 1) return amount;
    context.addIssue(`${quote(value)} is no share; 0 to 1 is allowed, or a percentage: \`50%\``);
    return z.NEVER;
  });
