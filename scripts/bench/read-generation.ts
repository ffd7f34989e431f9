/** The thread of proxy.ts that reads compiled feeds, whenever it is told to. */
import { parentPort, workerData } from "node:worker_threads";
import { readGeneration } from "../../src/feed/artefact.ts";

parentPort?.on("message", () => parentPort?.postMessage(readGeneration(workerData as string)?.feeds));
