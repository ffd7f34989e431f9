/** `echo.mts PORT ADDRESS…`: sends back what it gets, over UDP and TCP, from the address it was sent to. */
import { createSocket } from "node:dgram";
import { createServer, isIPv6 } from "node:net";

const [port = "7", ...addresses] = process.argv.slice(2);
for (const address of addresses) {
  const udp = createSocket(isIPv6(address) ? "udp6" : "udp4");
  udp.on("message", (message, peer) => udp.send(message, peer.port, peer.address));
  udp.bind(Number(port), address);
  const tcp = createServer((socket) => {
    socket.on("error", () => socket.destroy());
    socket.pipe(socket);
  });
  tcp.listen(Number(port), address);
}
