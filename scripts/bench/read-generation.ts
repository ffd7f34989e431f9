/** The thread of proxy.ts that reads compiled feeds, whenever it is told to. */
import { parentPort, workerData } from "node:worker_threads";
import { giveWay, readGeneration } from "../../src/feed/artefact.ts";
import { preparedFeeds } from "../../src/feed/index.ts";

parentPort?.on("message", () => {
  const generation = readGeneration(workerData as string, "current", giveWay);
  if (generation !== null) parentPort?.postMessage(preparedFeeds(generation.feeds));
});
