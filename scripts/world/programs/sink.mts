/**
 * `sink.mts PORT`: the far end of tunnels. A connection begins with a line, `NAME up` or `NAME down COUNT`: then what
 * comes is swallowed, or COUNT random bytes are sent. Prints `NAME TIME BYTES`, all that came under the name so far, for each piece.
 */
import { randomBytes } from "node:crypto";
import { createServer } from "node:net";
import { Readable } from "node:stream";

const CHUNK = 1024;
const totals = new Map<string, number>();
createServer((socket) => {
  let name: string | undefined;
  socket.on("error", () => socket.destroy());
  socket.on("data", (data: Buffer) => {
    let { length } = data;
    if (name === undefined) {
      const end = data.indexOf(10);
      const [first = "", direction, count = "0"] = data.toString("latin1", 0, end).split(" ");
      name = first;
      length -= end + 1;
      let left = direction === "down" ? Number(count) : 0;
      const read = function (this: Readable): void {
        this.push(left > 0 ? randomBytes(CHUNK) : null);
        left -= CHUNK;
      };
      if (left > 0) new Readable({ read }).pipe(socket, { end: false });
    }
    const total = (totals.get(name) ?? 0) + length;
    totals.set(name, total);
    console.log(`${name} ${Date.now()} ${total}`);
  });
}).listen(Number(process.argv[2] ?? "9000"), "0.0.0.0");
