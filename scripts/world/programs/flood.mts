/**
 * `flood.mts ADDRESS COUNT`: opens COUNT flows as fast as it can: one datagram to each of COUNT ports of ADDRESS,
 * from 1024 up, and round again from new source ports. Prints how many it sent.
 */
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { isIPv6 } from "node:net";

const [address = "", count = "1000"] = process.argv.slice(2);
const PORTS = 60_000;
let sent = 0;
while (sent < Number(count)) {
  const socket = createSocket(isIPv6(address) ? "udp6" : "udp4");
  socket.on("error", () => undefined);
  socket.bind(0);
  await once(socket, "listening");
  const part = Math.min(PORTS, Number(count) - sent);
  for (let done = 0; done < part; ) {
    const batch = Math.min(64, part - done);
    await Promise.all(
      Array.from({ length: batch }, (_, index) => {
        const port = 1024 + done + index;
        return new Promise<void>((resolve) => socket.send("flood", port, address, () => resolve()));
      }),
    );
    done += batch;
  }
  sent += part;
  socket.close();
}
console.log(sent);
