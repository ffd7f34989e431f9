/**
 * The proxy as the data thread runs it: real addon, real policy with lists and a feed, one container on loopback.
 * Arguments: PORT UPSTREAM-PORT. Ends when its standard input does.
 */
import { systemClock } from "../../src/clock.ts";
import { loadConfig } from "../../src/config.ts";
import { ContainerTable } from "../../src/container/table.ts";
import { startDns } from "../../src/dns/server.ts";
import { loadNative } from "../../src/native/native.ts";
import { benchContainer, benchPolicy } from "./world.ts";

const [port = 5311, upstream = 5300] = process.argv.slice(2).map(Number);
const config = loadConfig(null, "built-in", "bench");
const table = new ContainerTable();
const policy = benchPolicy();
const resident = table.upsert(benchContainer("127.0.0.1"));
resident.profile = policy.profileFor(resident.container, null);
const server = await startDns({
  native: loadNative(),
  clock: systemClock,
  config: { ...config.dns, port, rate: 1e9 },
  upstreams: [{ address: "127.0.0.1", port: upstream }],
  table,
  policy: () => policy,
  serves: () => true,
  bridgeAddress: () => 1,
  unknown: () => undefined,
  report: () => undefined,
  observe: () => undefined,
});
process.stdout.write("ready\n");
process.stdin.resume().on("end", () => void server.close());
