/** The thread of proxy.ts that reads compiled feeds. */
import { parentPort, workerData } from "node:worker_threads";
import { readGeneration } from "../../src/feed/artefact.ts";

parentPort?.postMessage(readGeneration(workerData as string)?.feeds);
