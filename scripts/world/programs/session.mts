/**
 * `session.mts ADDRESS PORT`: opens one TCP connection to an echo server and says something every 50 milliseconds. Prints `open`,
 * `echo N` for each reply, and `closed REASON` at the end; exits with 0 when the peer or the network ended it.
 */
import { connect } from "node:net";

const [address = "", port = "7"] = process.argv.slice(2);
const socket = connect(Number(port), address, () => {
  console.log("open");
  setInterval(() => socket.write("x"), 50);
});
let replies = 0;
socket.on("data", () => console.log(`echo ${++replies}`));
socket.on("error", (error) => console.log(`closed ${error.message}`));
socket.on("close", () => {
  console.log("closed");
  process.exit(0);
});
