/**
 * What of the detectors an operator may tune: the keys below `detectors`, and the options that a detector makes of them.
 * What each does to false alarms and to the time until something is found stands in docs/detections.md.
 */
import { z } from "zod";
import { duration, size, text, whole } from "./config-values.ts";
import type { ExfiltrationOptions } from "./detect/exfiltration-options.ts";
import type { GeneratedNamesOptions } from "./detect/generated-names-options.ts";
import { PORT_SCAN_DEFAULTS, type PortScanOptions } from "./detect/port-scan-options.ts";
import { parseNamePattern } from "./policy/domains.ts";
import { coveredSuffix } from "./policy/public-suffixes.ts";

/** A share, a chance or a height. */
const figure = (min: number, max: number) =>
  z
    .number()
    .min(min)
    .max(max)
    .meta({ title: `${min} to ${max}` });

/** Below a public suffix anybody can register a name and receive what is sent there. */
const ownDomain = text("name that is no public suffix", (value) => {
  const pattern = parseNamePattern(`.${value}`);
  return typeof pattern !== "string" && coveredSuffix(pattern) === null;
});

const portScan = {
  falseAlarm: figure(1e-12, 0.01)
    .prefault(1e-7)
    .describe(
      "Chance that a row of first contacts which fails as often as honest ones do is told as a scan.",
    ),
  missed: figure(0.0001, 0.2).prefault(0.01).describe("Chance that a scan is missed."),
  tcpAnswered: figure(0.1, 0.95)
    .prefault(0.5)
    .describe("Share of first TCP contacts that honest programs get an answer to, at the least."),
  udpAnswered: figure(0.05, 0.95).prefault(0.3).describe("The same of UDP."),
  rest: duration("1m", "6h")
    .prefault("30m")
    .describe("A scan without a probe for so long is over; one that is slower is not seen."),
};
const exfiltration = {
  burst: z
    .strictObject({
      window: duration("1m", "1h").prefault("10m").describe("Time looked back over for a tunnel in use."),
      size: size("1KiB", "1MiB")
        .prefault("8KiB")
        .describe("New bytes below a domain from which it is told, weighed by how they look."),
      names: whole(1, 10_000).prefault(6).describe("Names among them that look like data, at least."),
    })
    .prefault({}),
  drip: z
    .strictObject({
      window: duration("1h", "7d").prefault("24h").describe("Time looked back over for a slow drip."),
      size: size("1KiB", "16MiB")
        .prefault("16KiB")
        .describe("New bytes below a domain from which it is told."),
      names: whole(1, 100_000).prefault(50).describe("Names among them that look like data, at least."),
    })
    .prefault({}),
  hold: duration("1m", "7d")
    .prefault("1h")
    .describe("How long lookups below a domain that was told stay suspicious behind the last of them."),
  allowed: z
    .array(ownDomain)
    .prefault(["sophosxl.net", "avqs.mcafee.com", "avts.mcafee.com", "e5.sk", "hash.cymru.com"])
    .describe("Names that are never told, with all below them: services that are asked for digests."),
};
const generatedNames = {
  threshold: figure(5, 1000)
    .prefault(23)
    .describe("Evidence needed; a new domain that does not exist gives 0.5 to 3."),
  failures: whole(2, 1000).prefault(8).describe("New domains that do not exist, at least."),
  halfLife: duration("1m", "1d").prefault("30m").describe("Time in which evidence is worth half."),
  rest: duration("1m", "7d").prefault("1h").describe("Without a failure for so long it is told anew."),
  allowed: z
    .array(ownDomain)
    .prefault([])
    .describe("Names that do not count, with all below them: a search list (`lan`, `corp.example.com`)."),
};
const sockets = {
  interval: duration("1s", "10m")
    .prefault("10s")
    .describe("Every container's sockets are looked at so often."),
  udpSettle: duration("0s", "1h")
    .prefault("30s")
    .describe("A UDP socket on a port from 32768 to 60999 is taken for a listener after so long."),
  rawSource: z
    .enum(["auto", "tables"])
    .prefault("auto")
    .describe("How raw sockets are found; `auto`: by tracing where the kernel lets us, `tables`: never so."),
};

export const detectorsSchema = z
  .strictObject({
    portScan: z.strictObject(portScan).prefault({}),
    exfiltration: z.strictObject(exfiltration).prefault({}),
    generatedNames: z.strictObject(generatedNames).prefault({}),
    sockets: z.strictObject(sockets).prefault({}),
  })
  .prefault({});

type Given<Value> = Value extends readonly (infer Item)[]
  ? readonly Item[]
  : Value extends object
    ? { readonly [Key in keyof Value]: Given<Value[Key]> }
    : Value;
export type DetectorsConfig = Given<z.output<typeof detectorsSchema>>;

export function portScanOptions(config: DetectorsConfig["portScan"]): Partial<PortScanOptions> {
  const { falseAlarm, missed, tcpAnswered, udpAnswered, rest } = config;
  const { tcp, udp, remember, rest: usualRest } = PORT_SCAN_DEFAULTS;
  return {
    falseAlarm,
    missed,
    tcp: { ...tcp, benign: tcpAnswered },
    udp: { ...udp, benign: udpAnswered },
    rest,
    // A target that is forgotten within the rest would be a first contact again.
    remember: (remember / usualRest) * rest,
  };
}

export function exfiltrationOptions(config: DetectorsConfig["exfiltration"]): Partial<ExfiltrationOptions> {
  const { burst, drip, hold, allowed } = config;
  return {
    burst: { window: burst.window, bytes: burst.size, names: burst.names },
    drip: { window: drip.window, bytes: drip.size, names: drip.names },
    hold,
    allowed,
  };
}

export function generatedNamesOptions(
  config: DetectorsConfig["generatedNames"],
): Partial<GeneratedNamesOptions> {
  return config;
}
