/** Sends one datagram per new flow: SOCKETS source ports times HOSTS destinations. Arguments: PORT SOCKETS HOSTS. */
import { loadNative } from "../../src/native/native.ts";
import { SLOT } from "../../src/native/types.ts";

const [port = 9000, sockets = 200, hosts = 200] = process.argv.slice(2).map(Number);
const SLOT_SIZE = 64;
const BATCH = 64;
const arena = loadNative().openUdpArena(
  { slots: BATCH + 1, slotSize: SLOT_SIZE, maxSends: BATCH, rounds: 1 },
  () => undefined,
);
const bytes = new Uint8Array(arena.meta.buffer);
const open = Array.from({ length: sockets }, () =>
  arena.open({ family: 4, address: "0.0.0.0", port: 0, firstSlot: BATCH, batch: 1, buffer: 4 << 20 }),
);
const began = performance.now();
let slot = 0;
for (let host = 1; host <= hosts; host++) {
  for (const socket of open) {
    const row = slot * SLOT.STRIDE;
    arena.meta[row + SLOT.LENGTH] = 16;
    arena.meta[row + SLOT.FAMILY] = 4;
    arena.meta[row + SLOT.PEER_PORT] = port;
    arena.meta[row + SLOT.INTERFACE] = 0;
    arena.meta[row + SLOT.LOCAL_ADDRESS] = 0;
    bytes.set([203, 0, 113, host], (row + SLOT.PEER_ADDRESS) * 4);
    arena.list(slot, socket.index);
    slot = (slot + 1) % BATCH;
    if (slot === 0) arena.flush();
  }
}
arena.flush();
const { sent } = arena.stats();
process.stdout.write(JSON.stringify({ sent, seconds: (performance.now() - began) / 1000 }));
arena.close();
