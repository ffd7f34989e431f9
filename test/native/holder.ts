/**
 * Opens one of everything and then ends as told by its mode; as a worker (mode in workerData) or as a process (in argv).
 * `idle`: waits to be terminated. `busy`: never returns from the callback that its first packet brings. `exit`: calls
 * process.exit in that callback. `close`: closes all and ends by itself. `leave`: returns from the script with all open
 * but unreferenced by JavaScript, to be terminated.
 */
import { parentPort, workerData } from "node:worker_threads";
import { loadNative } from "../../src/native/native.ts";
import type { UdpSocketOptions } from "../../src/native/types.ts";
import { NF } from "../../src/native/types.ts";
import { ADDRESSES, QUEUE } from "./world.ts";

const mode = String(workerData ?? process.argv[2]);
const native = loadNative();
const queue = native.openPacketQueue(
  {
    queue: QUEUE,
    copyRange: 64,
    maxLength: 64,
    failOpen: false,
    conntrack: false,
    batch: 16,
    receiveBuffer: 1 << 20,
    failVerdict: NF.ACCEPT,
  },
  () => {
    parentPort?.postMessage("packet");
    if (mode === "exit") process.exit(0);
    while (mode === "busy");
  },
);
const arena = native.openUdpArena({ slots: 8, slotSize: 512, maxSends: 8, rounds: 4 }, () => undefined);
for (const family of [4, 6] as const) {
  const options: UdpSocketOptions = {
    family,
    address: ADDRESSES[family].first,
    port: 0,
    firstSlot: 0,
    batch: 8,
    buffer: 1 << 16,
  };
  arena.open(options);
  arena.open({ ...options, peer: { address: ADDRESSES[family].second, port: 53 } });
}
const unsubscribe = native.watchLinks(() => undefined);
native.ipsetAdd("tm-holder", "198.51.100.7");
native.links("/proc/self/ns/net");
if (mode === "close") {
  queue.close();
  arena.close();
  unsubscribe();
}
parentPort?.postMessage("ready");
