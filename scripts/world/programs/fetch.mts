/**
 * `fetch.mts ADDRESS PORT [WAIT]`: opens a TCP connection, sends an HTTP request and prints how it went: `answered`,
 * `silent` (nothing within WAIT milliseconds, default 2,000), or the error's code such as `ECONNREFUSED`.
 */
import { connect } from "node:net";

const [address = "", port = "80", wait = "2000"] = process.argv.slice(2);
function tell(outcome: string): void {
  console.log(outcome);
  process.exit(0);
}
setTimeout(tell, Number(wait), "silent");
const socket = connect(Number(port), address, () => socket.write("GET / HTTP/1.0\r\n\r\n"));
socket.on("data", () => tell("answered"));
socket.on("error", (error) => tell("code" in error ? String(error.code) : error.message));
socket.on("close", () => tell("closed"));
