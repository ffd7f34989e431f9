/**
 * A thread that floods: `{ send: n }` sends so many and answers how many left; `{ until: shared }` sends until the first
 * cell is set, then answers.
 */
import { parentPort } from "node:worker_threads";
import { loadNative } from "../../src/native/native.ts";
import { Flood } from "./flood.ts";

const flood = new Flood(loadNative());
parentPort?.on("message", (order: { send: number } | { until: Int32Array }) => {
  let sent = 0;
  if ("send" in order) sent = flood.send(order.send);
  else while (Atomics.load(order.until, 0) === 0) sent += flood.send(16);
  parentPort?.postMessage(sent);
});
