/**
 * The packet handler as the data thread runs it, behind the real rules. Argument: the container's host-side veth. When its
 * standard input ends it prints verdicts and CPU time per verdict.
 */
import { systemClock } from "../../src/clock.ts";
import { loadConfig } from "../../src/config.ts";
import { ContainerTable } from "../../src/container/table.ts";
import { loadNative } from "../../src/native/native.ts";
import { InternalPrefixes } from "../../src/packet/internet.ts";
import { startPackets } from "../../src/packet/queue.ts";
import { Ruleset } from "../../src/packet/ruleset.ts";
import { ALIVE_ENTRIES, ALIVE_TIMEOUT, SETS } from "../../src/packet/sets.ts";
import { run } from "../../src/run.ts";
import { benchContainer, benchPolicy } from "./world.ts";

const [veth = "veth0"] = process.argv.slice(2);
const native = loadNative();
const config = loadConfig(null, "built-in", "bench");
const network = {
  ...config.network,
  interfaces: ["br0"],
  connectionRate: 300_000,
  connectionBurst: 300_000,
};
const table = new ContainerTable();
const policy = benchPolicy();
const link = native.links().find(({ name }) => name === veth);
const resident = table.upsert(benchContainer("172.29.0.2", link?.index ?? 0));
resident.profile = policy.profileFor(resident.container, null);
const internal = new InternalPrefixes([]);
const packets = startPackets({
  native,
  clock: systemClock,
  config: network,
  failMode: "open",
  lookupsRedirected: true,
  dnsPort: config.dns.port,
  table,
  policy: () => policy,
  internal: () => internal,
  names: () => [],
  report: () => undefined,
  observe: () => undefined,
  unknown: () => undefined,
});
const ruleset = new Ruleset({
  config: network,
  dns: { port: config.dns.port, redirect: true, rate: 300_000 },
  failMode: "open",
  run,
  clock: systemClock,
  native,
  warn: () => undefined,
});
await ruleset.install(["br0"]);
await ruleset.setKnown(["172.29.0.2"]);
const beat = (): void => {
  for (const entry of ALIVE_ENTRIES)
    native.ipsetAdd(entry.includes(":") ? SETS.alive6 : SETS.alive4, entry, ALIVE_TIMEOUT);
};
beat();
const beating = setInterval(beat, 1000);
const before = process.cpuUsage();
process.stdout.write("\n");
process.stdin.resume().on("end", () => {
  const { user, system } = process.cpuUsage(before);
  const { packets: verdicts } = packets.stats();
  process.stdout.write(JSON.stringify({ verdicts, microseconds: (user + system) / Math.max(1, verdicts) }));
  clearInterval(beating);
  packets.close();
});
