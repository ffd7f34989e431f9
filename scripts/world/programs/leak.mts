/**
 * `leak.mts ADDRESS PORT NAME up|down COUNT`: the near end of a tunnel: sends COUNT random bytes to `sink.mts`, or has it send
 * them and prints `NAME TIME BYTES`, all that came so far, for each piece.
 */
import { randomBytes } from "node:crypto";
import { connect } from "node:net";
import { Readable } from "node:stream";

const CHUNK = 1024;
const [address = "", port = "", name = "", direction = "up", count = "0"] = process.argv.slice(2);
let left = direction === "up" ? Number(count) : 0;
let came = 0;
const socket = connect(Number(port), address, () => {
  socket.write(`${name} ${direction} ${count}\n`);
  const read = function (this: Readable): void {
    this.push(left > 0 ? randomBytes(CHUNK) : null);
    left -= CHUNK;
  };
  if (left > 0) new Readable({ read, highWaterMark: CHUNK }).pipe(socket, { end: false });
});
socket.on("data", (data) => {
  came += data.length;
  console.log(`${name} ${Date.now()} ${came}`);
});
socket.on("error", (error) => console.error(error.message));
