/** Counts datagrams. Argument: PORT. When its standard input ends it waits for quiet and prints how many there were. */
import { loadNative } from "../../src/native/native.ts";

const [port = 9000] = process.argv.slice(2).map(Number);
const arena = loadNative().openUdpArena(
  { slots: 128, slotSize: 64, maxSends: 1, rounds: 8 },
  () => undefined,
);
arena.open({ family: 4, address: "0.0.0.0", port, firstSlot: 0, batch: 128, buffer: 16 << 20 });
process.stdout.write("\n");
process.stdin.resume().on("end", () => {
  let before = -1;
  const quiet = setInterval(() => {
    const { received } = arena.stats();
    if (received !== before) {
      before = received;
      return;
    }
    clearInterval(quiet);
    process.stdout.write(JSON.stringify({ delivered: received }));
    arena.close();
  }, 300);
});
