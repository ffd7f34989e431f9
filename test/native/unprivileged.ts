/** Tries everything without CAP_NET_ADMIN and prints how each was refused, one JSON object. Run by native.test.ts. */
import { TidesmanError } from "../../src/errors.ts";
import { loadNative } from "../../src/native/native.ts";
import { NF } from "../../src/native/types.ts";

const native = loadNative();
const arena = native.openUdpArena({ slots: 1, slotSize: 64, maxSends: 1, rounds: 1 }, () => undefined);
const queue = { queue: 3, copyRange: 64, maxLength: 64, failOpen: false, conntrack: false };
const socket = { family: 4, address: "127.0.0.1", port: 0, firstSlot: 0, batch: 1, buffer: 1 << 26 } as const;
const attempts: Record<string, () => unknown> = {
  queue: () =>
    native.openPacketQueue(
      { ...queue, batch: 1, receiveBuffer: 1 << 26, failVerdict: NF.DROP },
      () => undefined,
    ),
  ipset: () => native.ipsetAdd("tm-any", "198.51.100.1"),
  conntrackDelete: () => native.conntrackDelete("198.51.100.1"),
  conntrackMark: () => native.conntrackMark("198.51.100.1", 1, 1),
  conntrackStates: () => native.conntrackStates(Uint8Array.of(4, 17, ...new Uint8Array(58)), 1),
  mark: () => arena.open({ ...socket, mark: 1 }),
  namespace: () => native.links("/proc/self/ns/net"),
  links: () => native.links().length > 0,
  unmarked: () => arena.open(socket).port > 0,
};
const results: Record<string, string> = {};
for (const [name, attempt] of Object.entries(attempts)) {
  try {
    results[name] = `done: ${String(attempt())}`;
  } catch (error) {
    results[name] = error instanceof TidesmanError ? `${error.code} ${error.message}` : String(error);
  }
}
arena.close();
console.log(JSON.stringify(results));
