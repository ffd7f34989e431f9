/**
 * The shape of policy.yaml: its types as plain data, safe to send between threads, and the schema that a file is checked
 * against. What spans several fields (overlaps, rules never reached) is in parse.ts.
 */
import { z } from "zod";
import { quote } from "../issues.ts";
import { parseNamePattern } from "./domains.ts";
import { parsePortEntry } from "./ports.ts";
import { parseAddressEntry } from "./prefixes.ts";
import { EFFECTS, type Effect } from "./types.ts";

export interface PolicyFile {
  readonly version: 1;
  readonly rules: readonly RuleFile[];
}

export interface RuleFile {
  readonly name: string;
  readonly scope?: ScopeFile;
  readonly dns?: DnsSection;
  readonly network?: NetworkSection;
}

/** Fields are ANDed, values in a field ORed, `*` wildcards, a leading `-` excludes. No field: every container. */
export interface ScopeFile {
  readonly containers?: readonly string[];
  readonly images?: readonly string[];
  readonly labels?: Readonly<Record<string, string | readonly string[]>>;
  readonly namespaces?: readonly string[];
  readonly hosts?: readonly string[];
}

export interface DnsSection {
  readonly effect?: Effect;
  readonly allowed?: readonly string[];
  readonly denied?: readonly string[];
  readonly deniedEffect?: Effect;
  readonly intelligence?: Effect;
  readonly suspicious?: Effect;
  /** Accept allowed patterns that cover a public suffix. */
  readonly force?: boolean;
}

/** A port, or an inclusive range: `443` or `"8000-8100"`. */
export type PortEntry = number | string;

export interface AddressLists {
  readonly allowed?: readonly string[];
  readonly denied?: readonly string[];
  readonly deniedEffect?: Effect;
}
export interface PortLists {
  readonly allowed?: readonly PortEntry[];
  readonly denied?: readonly PortEntry[];
  readonly deniedEffect?: Effect;
}

export interface NetworkSection {
  readonly effect?: Effect;
  readonly outboundAddresses?: AddressLists;
  readonly outboundPorts?: PortLists;
  readonly listeningPorts?: PortLists;
  readonly intelligence?: Effect;
  readonly unresolved?: Effect;
  readonly portScan?: Effect;
  readonly rawSockets?: Effect;
}

/** Whether a rule can stop a container by what it says itself; no default does. */
export function mayBlock({ rules }: PolicyFile): boolean {
  return rules.some(({ dns = {}, network = {} }) => {
    const { outboundAddresses, outboundPorts, listeningPorts } = network;
    const lists = [dns, outboundAddresses, outboundPorts, listeningPorts].map((list) => list?.deniedEffect);
    const effects = [...lists, ...Object.values(dns), ...Object.values(network)];
    return effects.includes("block");
  });
}

// ------------------------------------------------------------------------------------------------ schema

/** Text that `parse` accepts; what it answers instead becomes the problem, behind the input. */
function entry(parse: (text: string) => unknown): z.ZodType<string> {
  return z.string().superRefine((text, context) => {
    const parsed = parse(text);
    if (typeof parsed === "string") context.addIssue(`${quote(text)} ${parsed}`);
  });
}

const effect = z.enum(EFFECTS as readonly [Effect, ...Effect[]]).exactOptional();
const names = z.array(entry(parseNamePattern)).exactOptional();
const addresses = z.array(entry(parseAddressEntry)).exactOptional();
const port = z
  .union([z.number(), z.string()], {
    error: 'is no port; a number of 1 to 65535 or a range in quotes is allowed ("8000-8100")',
  })
  .superRefine((value, context) => {
    const parsed = parsePortEntry(value);
    if (typeof parsed === "string") context.addIssue(`${quote(value)} ${parsed}`);
  });
const ports = z.array(port).exactOptional();

const scopeValue = z
  .string()
  .min(1)
  .max(512)
  .refine((text) => text !== "-", {
    error: "`-` excludes nothing; write what it excludes behind it (`-web*`)",
  });
const scopeValues = z.array(scopeValue).min(1).exactOptional();
const scopeFile = z.strictObject({
  containers: scopeValues,
  images: scopeValues,
  labels: z
    .record(
      z.string().min(1),
      z.union([scopeValue, z.array(scopeValue).min(1)], {
        error: "is no label value; text in quotes, or a list of texts that is not empty, is allowed",
      }),
    )
    .exactOptional(),
  namespaces: scopeValues,
  hosts: scopeValues,
});

const dnsSection = z.strictObject({
  effect,
  allowed: names,
  denied: names,
  deniedEffect: effect,
  intelligence: effect,
  suspicious: effect,
  force: z.boolean().exactOptional(),
});
const portLists = z.strictObject({ allowed: ports, denied: ports, deniedEffect: effect });
const networkSection = z.strictObject({
  effect,
  outboundAddresses: z
    .strictObject({ allowed: addresses, denied: addresses, deniedEffect: effect })
    .exactOptional(),
  outboundPorts: portLists.exactOptional(),
  listeningPorts: portLists.exactOptional(),
  intelligence: effect,
  unresolved: effect,
  portScan: effect,
  rawSockets: effect,
});

/** Checks policy.yaml; its output is a `PolicyFile`, which the compiler proves. */
export const POLICY_SCHEMA: z.ZodType<PolicyFile> = z.strictObject({
  version: z.literal(1),
  rules: z.array(
    z.strictObject({
      name: z.string().trim().min(1).max(200),
      scope: scopeFile.exactOptional(),
      dns: dnsSection.exactOptional(),
      network: networkSection.exactOptional(),
    }),
  ),
});
