/** What is said of data in lookups. */
import { wireToName } from "../name.ts";
import { typeName } from "../record-type.ts";
import { SUM, type Window } from "./domain-traffic.ts";
import type { Detection, LookupEvent } from "./types.ts";

const HOUR = 3_600_000;
const number = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

/** `window` looks back over `width` milliseconds; `event` is the lookup that was too much. */
export function describeExfiltration(
  window: Window,
  width: number,
  domain: string,
  event: LookupEvent,
): Detection {
  const names = window.of(SUM.NAMES);
  const lookups = window.of(SUM.LOOKUPS);
  const time = width < HOUR ? `${Math.round(width / 60_000)} min` : `${Math.round(width / HOUR)} h`;
  const percent = (part: number): string => `${Math.round((100 * part) / Math.max(1, lookups))} %`;
  return {
    type: "dns",
    attackType: "suspiciousDNS",
    message: `${size(window.of(SUM.BYTES))} in ${number.format(names)} unique names under \`${domain}\` in ${time}, like data sent over DNS`,
    dns: dnsOf(event),
    connection: null,
    reasons: [
      {
        kind: "detection",
        subject: domain,
        message:
          `${percent(names)} of ${number.format(lookups)} lookups ask for a new name, ${percent(window.of(SUM.DATA_TYPES))} for types ` +
          `that carry data (the last for ${typeName(event.type)}), ${size(window.of(SUM.ANSWER_BYTES))} in large answers to them`,
      },
    ],
  };
}

export function dnsOf(event: LookupEvent): Detection["dns"] {
  return {
    name: wireToName(event.bytes, event.offset),
    type: typeName(event.type),
    answers: [],
    rcode: null,
  };
}

function size(bytes: number): string {
  return bytes < 1000 ? `${Math.round(bytes)} bytes` : `${number.format(bytes / 1000)} kB`;
}
