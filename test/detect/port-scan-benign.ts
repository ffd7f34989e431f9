/**
 * A busy but honest container, run in its network namespace: `port-scan-benign.ts PROGRAM`. Targets are the addresses of
 * port-scan-world.ts.
 */
import dgram from "node:dgram";
import net from "node:net";
import { CLOSED, SERVED, SILENT } from "./port-scan-world.ts";

async function connect(host: string, port: number, wait = 300): Promise<void> {
  const socket = net.connect({ host, port });
  socket.on("error", () => undefined);
  socket.setTimeout(wait, () => socket.destroy());
  socket.on("connect", () => socket.end("GET / HTTP/1.0\r\n\r\n"));
  socket.resume();
  await new Promise((resolve) => socket.on("close", resolve));
}

async function all(count: number, parallel: number, one: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  const work = async (): Promise<void> => {
    while (next < count) await one(next++);
  };
  await Promise.all(Array.from({ length: parallel }, work));
}

const programs: Readonly<Record<string, () => Promise<void>>> = {
  /** 120 hosts, one in six of them gone. */
  crawler: () =>
    all(144, 8, (index) =>
      index % 6 === 5 ? connect(CLOSED(index / 6), 443) : connect(SERVED(index), index % 5 === 0 ? 80 : 443),
    ),
  /** Thousands of connections to three backends, one of them down. */
  "load test": () =>
    all(3000, 16, (index) => (index % 3 === 0 ? connect(CLOSED(1), 443) : connect(SERVED(index % 3), 443))),
  /** One backend, which is down: refused, then silent. */
  "dead backend": async () => {
    await all(200, 4, () => connect(CLOSED(1), 443));
    await all(100, 20, () => connect(SILENT(1), 443));
  },
  /** Fifty hosts, three of them down, three rounds. */
  "health checks": () =>
    all(150, 10, (index) =>
      index % 50 < 3
        ? connect(index % 50 === 0 ? SILENT(2) : CLOSED(index % 50), 80)
        : connect(SERVED(index % 50), 80),
    ),
  /** Peers of whom more than half are gone, on ports of their own. */
  "peer to peer": () =>
    all(150, 16, (index) => {
      const port = 20_000 + ((index * 7919) % 40_000);
      if (index % 9 < 4) return connect(SERVED(index % 90), 6881 + (index % 3));
      return connect(
        index % 2 === 0 ? CLOSED(index % 50) : SILENT(index % 25),
        index % 5 === 0 ? 6881 : port,
      );
    }),
  /** Ten collectors that never answer. */
  statistics: async () => {
    const socket = dgram.createSocket("udp4");
    for (let index = 0; index < 500; index++) {
      await new Promise((resolve) => socket.send("a:1|c", 8125, SILENT(index % 10), resolve));
    }
    socket.close();
  },
};

await programs[process.argv[2] ?? ""]?.();
