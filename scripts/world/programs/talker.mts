/**
 * `talker.mts ADDRESS PORT [INTERVAL]`: sends a datagram every INTERVAL milliseconds (default 5) for ever, and ignores
 * every polite request to end.
 */
import { createSocket } from "node:dgram";
import { isIPv6 } from "node:net";

const [address = "", port = "9", interval = "5"] = process.argv.slice(2);
for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
  process.on(signal, () => console.log(`${signal} ignored`));
}
const socket = createSocket(isIPv6(address) ? "udp6" : "udp4");
socket.on("error", (error) => console.error(error.message));
// An unreachable answer makes one send fail; the next may pass.
setInterval(() => socket.send("talk", Number(port), address, () => undefined), Number(interval));
