/**
 * `lookups.mts SERVER COUNT SUFFIX [WINDOW]`: asks SERVER for the A record of COUNT different names `nN.SUFFIX`, WINDOW
 * of them (default 100) at a time, a window every 10 milliseconds. Prints how many it sent and how many were answered within
 * two seconds of the last, as JSON.
 */
import { createSocket } from "node:dgram";
import { isIPv6 } from "node:net";
import { setTimeout as delay } from "node:timers/promises";

const [server = "", count = "100", suffix = "example", window = "100"] = process.argv.slice(2);

function question(id: number, name: string): Uint8Array {
  const labels = name.split(".").flatMap((label) => [label.length, ...Buffer.from(label)]);
  return Uint8Array.of(id >> 8, id & 255, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...labels, 0, 0, 1, 0, 1);
}

const socket = createSocket({ type: isIPv6(server) ? "udp6" : "udp4", recvBufferSize: 4 << 20 });
let answered = 0;
socket.on("message", () => answered++);
socket.on("error", (error) => console.error(error.message));
let sent = 0;
while (sent < Number(count)) {
  for (let index = 0; index < Number(window) && sent < Number(count); index++, sent++) {
    socket.send(question(sent & 0xffff, `n${sent}.${suffix}`), 53, server);
  }
  await delay(10);
}
const deadline = performance.now() + 2000;
while (answered < sent && performance.now() < deadline) await delay(20);
console.log(JSON.stringify({ sent, answered }));
socket.close();
