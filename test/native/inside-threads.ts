/** Run by native.test.ts inside a network namespace: threads and processes that end in every way leave nothing behind. */
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readlinkSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import t from "tap";
import type { PacketQueue } from "../../src/native/types.ts";
import { NF, VERDICT } from "../../src/native/types.ts";
import { KernelWorld } from "./kernel-world.ts";
import { sh } from "./namespace.ts";
import { QUEUE, until } from "./world.ts";

const world = await KernelWorld.make();
t.teardown(() => world.close());
sh("ipset create tm-holder hash:ip");
const HOLDER = new URL("./holder.ts", import.meta.url);

/** Sockets that this process has open. */
function sockets(): number {
  let count = 0;
  for (const name of readdirSync("/proc/self/fd")) {
    try {
      if (readlinkSync(`/proc/self/fd/${name}`).startsWith("socket:")) count++;
    } catch (error) {
      // The descriptor of the listing itself is closed by now.
      if (!(error instanceof Error && "code" in error && error.code === "ENOENT")) throw error;
    }
  }
  return count;
}

function mayOpenQueue(): PacketQueue {
  const options = { queue: QUEUE, copyRange: 64, maxLength: 64, failOpen: false, conntrack: false };
  const queue: PacketQueue = world.native.openPacketQueue(
    { ...options, batch: 16, receiveBuffer: 1 << 20, failVerdict: NF.DROP },
    (count) => {
      for (let row = 0; row < count; row++) queue.verdicts[row * VERDICT.STRIDE] = NF.ACCEPT;
    },
  );
  return queue;
}

for (const mode of ["idle", "busy", "exit", "close"]) {
  t.test(`a worker that ends while ${mode}`, async (t) => {
    const before = sockets();
    for (let round = 0; round < 3; round++) {
      const worker = new Worker(HOLDER, { workerData: mode });
      const exited = once(worker, "exit");
      const heard = new Set<string>();
      worker.on("message", (word: string) => heard.add(word));
      await until("it is ready", () => heard.has("ready"));
      if (mode !== "close") t.ok(sockets() > before, "it has sockets of its own");
      const from = world.arrived.length;
      if (mode === "busy" || mode === "exit") {
        world.sendPacket(4, Uint8Array.of(round));
        await until("its callback runs", () => heard.has("packet") || mode === "exit");
      }
      if (mode === "idle" || mode === "busy") await worker.terminate();
      await exited;
      t.equal(sockets(), before, "none of its descriptors is left");
      if (mode === "busy" || mode === "exit") {
        await until("its packet took the fail verdict", () => world.arrived.length === from + 1);
      }
      mayOpenQueue().close();
    }
  });
}

t.test("the main thread and workers use the addon at once", async (t) => {
  const main = world.native.openUdpArena({ slots: 4, slotSize: 64, maxSends: 4, rounds: 1 }, () => undefined);
  const worker = new Worker(HOLDER, { workerData: "idle" });
  await once(worker, "message");
  t.throws(mayOpenQueue, { code: "TM_NATIVE_QUEUE_TAKEN" });
  await worker.terminate();
  const queue = mayOpenQueue();
  const from = world.arrived.length;
  world.sendPacket(6, Uint8Array.of(1));
  await until("its queue serves", () => world.arrived.length === from + 1);
  queue.close();
  main.close();
});

t.test("a process may end with everything open, and ends by itself when all is closed", async (t) => {
  const ended = spawnSync(process.execPath, [...process.execArgv, fileURLToPath(HOLDER), "close"], {
    encoding: "utf8",
    timeout: 20_000,
  });
  t.match(ended, { status: 0, signal: null, stderr: "" });
  const script = `process.argv[2] = "idle"; await import(${JSON.stringify(HOLDER.href)}); process.exit(7);`;
  const left = spawnSync(
    process.execPath,
    [...process.execArgv, "--input-type=module", "-e", script, "--", "idle"],
    {
      encoding: "utf8",
      timeout: 20_000,
    },
  );
  t.match(left, { status: 7, signal: null, stderr: "" });
  mayOpenQueue().close();
});
