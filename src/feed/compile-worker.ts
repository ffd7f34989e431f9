/** The worker that compile-in-worker.ts starts: one load, one answer, then it ends. */
import { parentPort, workerData } from "node:worker_threads";
import { systemClock } from "../clock.ts";
import { TidesmanError } from "../errors.ts";
import type { CompileAnswer, CompileOrder } from "./compile-in-worker.ts";
import { loadFeeds, readFeedFile } from "./load.ts";

const order = workerData as CompileOrder;

function answer(): CompileAnswer {
  try {
    return { feeds: loadFeeds({ ...order, readFile: readFeedFile, clock: systemClock }) };
  } catch (error) {
    if (error instanceof TidesmanError) return { code: error.code, message: error.message };
    throw error;
  }
}

parentPort?.postMessage(answer());
