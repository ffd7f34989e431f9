/**
 * What is read of the container runtime policy of Prisma Cloud Compute, as its API gives it (GET policies/runtime/container):
 * the shape since release 22 (`defaultEffect`, `domainList`) and the one before it (`effect`, `whitelist`). An empty list may
 * be null there, and an effect that was never set an empty text.
 */
import { z } from "zod";
import { EFFECTS, type Effect } from "../types.ts";

const effect = z
  .enum(["", ...EFFECTS] as readonly ["", ...Effect[]])
  .nullish()
  .transform((value): Effect | undefined => (value === "" || value === null ? undefined : value));
const texts = z
  .array(z.string())
  .nullish()
  .transform((value) => value ?? []);
const portRanges = z
  .array(z.looseObject({ start: z.number(), end: z.number().nullish(), deny: z.boolean().nullish() }))
  .nullish()
  .transform((value) => value ?? []);
const flag = z
  .boolean()
  .nullish()
  .transform((value) => value ?? undefined);
const portLists = z.looseObject({ allowed: portRanges, denied: portRanges, effect }).nullish();

export const collection = z.looseObject({
  name: z.string().nullish(),
  containers: texts,
  images: texts,
  labels: texts,
  namespaces: texts,
  hosts: texts,
  clusters: texts,
  appIDs: texts,
  accountIDs: texts,
});
export type Collection = z.output<typeof collection>;

const dns = z.looseObject({
  disabled: flag,
  defaultEffect: effect,
  domainList: z.looseObject({ allowed: texts, denied: texts, effect }).nullish(),
  effect,
  whitelist: texts,
  blacklist: texts,
});
export type ExportedDns = z.output<typeof dns>;

const network = z.looseObject({
  disabled: flag,
  defaultEffect: effect,
  allowedIPs: texts,
  deniedIPs: texts,
  deniedIPsEffect: effect,
  listeningPorts: portLists,
  outboundPorts: portLists,
  portScanEffect: effect,
  rawSocketsEffect: effect,
  effect,
  whitelistIPs: texts,
  blacklistIPs: texts,
  whitelistListeningPorts: portRanges,
  blacklistListeningPorts: portRanges,
  whitelistOutboundPorts: portRanges,
  blacklistOutboundPorts: portRanges,
  detectPortScan: flag,
  skipRawSockets: flag,
});
export type ExportedNetwork = z.output<typeof network>;
export type ExportedPorts = z.output<typeof portRanges>;

const rule = z.looseObject({
  name: z.string(),
  disabled: flag,
  collections: z
    .array(collection)
    .nullish()
    .transform((value) => value ?? []),
  advancedProtection: flag,
  advancedProtectionEffect: effect,
  cloudMetadataEnforcement: flag,
  cloudMetadataEnforcementEffect: effect,
  dns: dns.nullish(),
  network: network.nullish(),
});
export type ExportedRule = z.output<typeof rule>;

export const PRISMA_EXPORT = z.looseObject({
  _id: z.unknown().optional(),
  rules: z
    .array(rule)
    .nullable()
    .transform((rules) => rules ?? []),
});
