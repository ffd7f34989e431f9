/**
 * `once.mts ADDRESS PORT [WAIT] [SOURCE-PORT]`: sends one datagram and prints the reply. Exits with 0 when there was one within
 * WAIT milliseconds (default 2,000), else with 1.
 */
import { createSocket } from "node:dgram";
import { isIPv6 } from "node:net";

const [address = "", port = "7", wait = "2000", sourcePort = "0"] = process.argv.slice(2);
const socket = createSocket(isIPv6(address) ? "udp6" : "udp4");
const timer = setTimeout(() => {
  console.error("no reply");
  process.exit(1);
}, Number(wait));
socket.on("message", (message) => {
  clearTimeout(timer);
  console.log(message.toString());
  socket.close();
});
socket.on("error", (error) => {
  console.error(error.message);
  process.exit(1);
});
socket.bind(Number(sourcePort), () => socket.send("ping", Number(port), address));
