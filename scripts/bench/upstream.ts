/** Answers every A question with 192.0.2.1 and a long TTL. Argument: PORT. Ends when its standard input does. */
import { loadNative } from "../../src/native/native.ts";
import { SLOT } from "../../src/native/types.ts";

const [port = 5300] = process.argv.slice(2).map(Number);
const BATCH = 64;
const SLOT_SIZE = 2048;
const ANSWER = Uint8Array.from([0xc0, 12, 0, 1, 0, 1, 0, 1, 0x51, 0x80, 0, 4, 192, 0, 2, 1]);

const arena = loadNative().openUdpArena(
  { slots: BATCH, slotSize: SLOT_SIZE, maxSends: BATCH, rounds: 4 },
  (socket, count) => {
    const { memory, meta } = arena;
    for (let slot = 0; slot < count; slot++) {
      const at = slot * SLOT_SIZE;
      let end = at + 12;
      while (memory[end] !== 0) end += memory[end]! + 1;
      end += 5;
      memory[at + 2] = 0x84 | (memory[at + 2]! & 1);
      memory[at + 3] = 0x80;
      memory.set([0, 1, 0, 0, 0, 0], at + 6);
      memory.set(ANSWER, end);
      meta[slot * SLOT.STRIDE + SLOT.LENGTH] = end - at + ANSWER.length;
      arena.list(slot, socket);
    }
  },
);
arena.open({ family: 4, address: "127.0.0.1", port, firstSlot: 0, batch: BATCH, buffer: 4 << 20 });
process.stdout.write("ready\n");
process.stdin.resume().on("end", () => arena.close());
