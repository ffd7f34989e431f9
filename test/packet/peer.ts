/** Sockets in a network namespace: servers of the Internet, and clients in containers. Run by child.ts. */
import dgram from "node:dgram";
import net from "node:net";
import { serve } from "./child.ts";

export interface Seen {
  /** `reset`: a TCP connection that its client reset. */
  readonly protocol: "tcp" | "udp" | "reset";
  readonly source: string;
  readonly destination: string;
  readonly port: number;
}

const seen: Seen[] = [];
const open = new Map<number, net.Socket>();
let nextSocket = 0;
/** Below the ephemeral ports, so that no flow comes twice. */
let nextFloodPort = 10_000;

serve({
  /** TCP and UDP servers that answer with `banner` and what they were sent. */
  async listen(address: string, port: number, banner: string) {
    const tcp = net.createServer((socket) => {
      seen.push({ protocol: "tcp", source: socket.remoteAddress ?? "", destination: address, port });
      socket.on("error", () => {
        seen.push({ protocol: "reset", source: socket.remoteAddress ?? "", destination: address, port });
        socket.destroy();
      });
      socket.on("data", (data) => socket.write(`${banner}${data}`));
    });
    await new Promise<void>((resolve) => tcp.listen({ host: address, port }, resolve));
    const udp = dgram.createSocket(address.includes(":") ? "udp6" : "udp4");
    udp.on("message", (data, from) => {
      seen.push({ protocol: "udp", source: from.address, destination: address, port });
      udp.send(`${banner}${data}`, from.port, from.address);
    });
    udp.on("error", () => undefined);
    await new Promise<void>((resolve) => udp.bind({ address, port }, resolve));
  },
  seen: () => seen,

  /** `open N` with a number for `echo`, or an errno, or `silent` after `wait` ms. */
  connect(address: string, port: number, wait: number) {
    return new Promise<string>((resolve) => {
      const socket = net.connect({ host: address, port });
      const done = (text: string): void => {
        clearTimeout(timer);
        resolve(text);
      };
      const timer = setTimeout(() => {
        socket.destroy();
        done("silent");
      }, wait);
      socket.on("connect", () => {
        const number = nextSocket++;
        open.set(number, socket);
        done(`open ${number}`);
      });
      socket.on("error", (error: NodeJS.ErrnoException) => done(error.code ?? "error"));
    });
  },
  /** Sends on an open connection and waits for the echo. */
  echo(number: number, wait: number) {
    const socket = open.get(number);
    if (socket === undefined) throw new Error(`no connection ${number}`);
    return new Promise<string>((resolve) => {
      const done = (text: string): void => {
        clearTimeout(timer);
        socket.off("data", onData);
        socket.off("error", onError);
        resolve(text);
      };
      const onData = (data: Buffer): void => done(String(data));
      const onError = (error: NodeJS.ErrnoException): void => done(error.code ?? "error");
      const timer = setTimeout(() => done("silent"), wait);
      socket.on("data", onData);
      socket.on("error", onError);
      socket.write("ping");
    });
  },
  close(number: number) {
    open.get(number)?.destroy();
  },
  /** Closes with a reset. */
  reset(number: number) {
    open.get(number)?.resetAndDestroy();
  },

  /** One datagram from a new port (or from `source`); the answer, or `silent`. */
  ask(address: string, port: number, wait: number, source?: string) {
    return new Promise<string>((resolve) => {
      const socket = dgram.createSocket(address.includes(":") ? "udp6" : "udp4");
      const done = (text: string): void => {
        clearTimeout(timer);
        socket.close();
        resolve(text);
      };
      const timer = setTimeout(() => done("silent"), wait);
      socket.on("message", (data) => done(String(data)));
      socket.on("error", (error: NodeJS.ErrnoException) => done(error.code ?? "error"));
      const send = (): void => socket.send("ask", port, address);
      if (source === undefined) send();
      else socket.bind({ address: source }, send);
    });
  },
  /** Datagrams from `count` ports never used before, as fast as they go. */
  async flood(address: string, port: number, count: number) {
    for (let sent = 0; sent < count; ) {
      const some = Array.from({ length: Math.min(200, count - sent) }, () =>
        dgram.createSocket(address.includes(":") ? "udp6" : "udp4"),
      );
      await Promise.all(
        some.map(
          (socket) =>
            new Promise((resolve, reject) => {
              socket.on("error", reject);
              socket.bind(nextFloodPort++, () =>
                socket.send("flood", port, address, (error) =>
                  error === null ? resolve(null) : reject(error),
                ),
              );
            }),
        ),
      );
      for (const socket of some) socket.close();
      sent += some.length;
    }
  },
});
