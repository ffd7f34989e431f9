/**
 * The proxy as the data thread runs it: real addon, real policy with lists and a feed, one container on loopback.
 * Arguments: PORT UPSTREAM-PORT [FOLDER]; FOLDER: of compiled feeds, which are read again and swapped in for every line of
 * standard input, as the daemon does it: another thread reads, this one takes over. Ends when its standard input does.
 */
import { Worker } from "node:worker_threads";
import { systemClock } from "../../src/clock.ts";
import { loadConfig } from "../../src/config.ts";
import { ContainerTable } from "../../src/container/table.ts";
import { startDns } from "../../src/dns/server.ts";
import { readGeneration } from "../../src/feed/artefact.ts";
import { openFeeds } from "../../src/feed/index.ts";
import type { CompiledFeeds } from "../../src/feed/types.ts";
import { loadNative } from "../../src/native/native.ts";
import { benchContainer, benchPolicy } from "./world.ts";

const [port = 5311, upstream = 5300] = process.argv.slice(2).map(Number);
const config = loadConfig(null, "built-in", "bench");
const table = new ContainerTable();
const folder = process.argv[4];
let revision = 1;
let policy = folder === undefined ? benchPolicy() : benchPolicy(openFeeds(stored(folder)));
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

function stored(from: string): CompiledFeeds {
  const generation = readGeneration(from);
  if (generation === null) throw new Error(`there is nothing compiled in ${from}`);
  return generation.feeds;
}

/** Milliseconds that this thread needed to take the new feeds over. */
function takeOver(feeds: CompiledFeeds): number {
  const began = performance.now();
  policy = policy.withFeeds(openFeeds(feeds, { trusted: true }), ++revision);
  resident.profile = policy.profileFor(resident.container, null);
  return performance.now() - began;
}

const reader = new Worker(new URL("./read-generation.ts", import.meta.url), { workerData: folder });
reader.on("message", (feeds: CompiledFeeds) => process.stdout.write(`${takeOver(feeds)}\n`));
process.stdin.on("data", () => reader.postMessage("read"));
process.stdin.on("end", () => {
  void server.close();
  void reader.terminate();
});
