/** The host of the netfilter tests: rule set, packet handler over the real addon, and a policy double. Run by child.ts. */

import { formatAddress } from "../../src/address.ts";
import { type Clock, systemClock } from "../../src/clock.ts";
import type { NetworkConfig } from "../../src/config.ts";
import { ContainerTable } from "../../src/container/table.ts";
import type { Container } from "../../src/container/types.ts";
import { loadNative } from "../../src/native/native.ts";
import { InternalPrefixes } from "../../src/packet/internet.ts";
import { type PacketHandler, startPackets } from "../../src/packet/queue.ts";
import { Ruleset } from "../../src/packet/ruleset.ts";
import { ALIVE_ENTRIES, ALIVE_TIMEOUT, SETS } from "../../src/packet/sets.ts";
import type { Watch } from "../../src/packet/watch.ts";
import type { Finding, Policy } from "../../src/policy/types.ts";
import { run } from "../../src/run.ts";
import { serve } from "./child.ts";
import { ALLOW, DENY, PROFILE } from "./doubles.ts";

const clock: Clock = systemClock;
const native = loadNative();
const table = new ContainerTable();
const internal = new InternalPrefixes(["172.30.0.0/24", "2001:db8:d0::/64"]);
const findings: Finding[] = [];
const tampered: string[] = [];
const warnings: string[] = [];
const unknown: [number, string][] = [];
/** `tcp 203.0.113.10 80` -> times it was decided. */
const decided = new Map<string, number>();
/** Destinations that policy denies. */
let denied = new Set<string>();
let handler: PacketHandler | undefined;
let ruleset: Ruleset | undefined;
let watch: Watch | undefined;
let beating: { cancel(): void } | undefined;

const policy: Policy = {
  revision: 1,
  profileFor: () => PROFILE,
  withFeeds: () => policy,
  weigh: () => ALLOW,
  decide(event) {
    if (event.kind !== "connection") return ALLOW;
    const destination = formatAddress(event.destination);
    const key = `${event.protocol} ${destination} ${event.port}`;
    decided.set(key, (decided.get(key) ?? 0) + 1);
    return denied.has(destination) ? DENY : ALLOW;
  },
};

function started<Value>(value: Value | undefined): Value {
  if (value === undefined) throw new Error("call start first");
  return value;
}

function beat(): void {
  for (const entry of ALIVE_ENTRIES) {
    native.ipsetAdd(entry.includes(":") ? SETS.alive6 : SETS.alive4, entry, ALIVE_TIMEOUT);
  }
}

serve({
  async start(options: {
    failMode: "open" | "closed";
    config: NetworkConfig;
    denied: readonly string[];
    lookupRate?: number;
  }) {
    const { failMode, config } = options;
    denied = new Set(options.denied);
    handler = startPackets({
      native,
      clock,
      config,
      failMode,
      lookupsRedirected: true,
      dnsPort: 5303,
      table,
      policy: () => policy,
      internal: () => internal,
      names: () => [],
      report: (finding) => findings.push(finding),
      observe: () => undefined,
      unknown: (index, source) => unknown.push([index, source]),
      failed: (error) => warnings.push(error.message),
    });
    ruleset = new Ruleset({
      config,
      dns: { port: 5303, redirect: true, rate: options.lookupRate ?? 1000 },
      failMode,
      run,
      clock,
      native,
      warn: (message) => warnings.push(message),
    });
    await ruleset.install([]);
    beat();
    beating = clock.every(1000, beat);
    // Keeps the process alive: timers of the clock do not.
    setInterval(() => undefined, 60_000);
  },
  install: (interfaces: readonly string[]) => started(ruleset).install(interfaces),
  check: () => started(ruleset).check(),
  watch() {
    watch = started(ruleset).watch((detail) => tampered.push(detail));
  },
  unwatch: () => watch?.close(),
  remove(options: { uninstall?: boolean }) {
    beating?.cancel();
    return started(ruleset).remove(options);
  },
  setKnown: (addresses: readonly string[]) => started(ruleset).setKnown(addresses),
  cut: (addresses: readonly string[]) => started(ruleset).cut(addresses),
  uncut: (addresses: readonly string[]) => started(ruleset).uncut(addresses),
  requeue: (address: string) => started(ruleset).requeue(address),
  readFloods: () => started(ruleset).readFloods(),
  deny(addresses: readonly string[]) {
    denied = new Set(addresses);
  },
  async add(container: Container) {
    table.upsert(container).profile = PROFILE;
    handler?.containersChanged();
  },
  closeHandler() {
    handler?.close();
    handler = undefined;
  },
  state: () => ({
    findings,
    tampered,
    warnings,
    unknown,
    decided: Object.fromEntries(decided),
    stats: handler?.stats() ?? null,
  }),
  links: () => native.links(),
});
