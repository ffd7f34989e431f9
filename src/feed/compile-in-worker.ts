/** Loads and compiles feeds on a thread of its own, so that a list of millions does not hold up the main thread. */
import { Worker } from "node:worker_threads";
import { type ErrorCode, TidesmanError } from "../errors.ts";
import type { CompiledFeeds } from "./types.ts";

/** What to load; see `LoadOptions`. */
export interface CompileOrder {
  readonly manifest: string;
  readonly bodies?: string;
  readonly seed: Uint8Array;
  readonly previous?: CompiledFeeds;
}

export type CompileAnswer =
  | { readonly feeds: CompiledFeeds }
  | { readonly code: ErrorCode; readonly message: string };

/**
 * The same as `loadFeeds` with the file system and the time of day. The buffers come back shared, not copied.
 * Rejects with what `loadFeeds` throws, and with TM_INTERNAL when the worker dies (out of memory).
 */
export function compileInWorker(order: CompileOrder): Promise<CompiledFeeds> {
  const file = import.meta.url.endsWith(".ts") ? "./compile-worker.ts" : "./compile-worker.js";
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL(file, import.meta.url), { workerData: order });
    worker.once("message", (answer: CompileAnswer) => {
      if ("feeds" in answer) resolve(answer.feeds);
      else reject(new TidesmanError(answer.code, answer.message));
    });
    worker.once("error", (cause) => {
      const why = cause instanceof Error ? cause.message : String(cause);
      reject(new TidesmanError("TM_INTERNAL", `compiling the feeds failed: ${why}`, { cause }));
    });
    // After an answer or an error this changes nothing: a promise settles once.
    worker.once("exit", (code) => {
      reject(new TidesmanError("TM_INTERNAL", `compiling the feeds ended with status ${code} and no answer`));
    });
  });
}
