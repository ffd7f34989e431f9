/**
 * `sieve.mts TARGET-PORT ADDRESS=WHAT…`: resolvers on the way that are not 8-bit clean. Takes lookups (UDP) at port 53 of each
 * ADDRESS and hands them on to the Nth port from TARGET-PORT of 127.0.0.1. WHAT: `clean` (all of them), `ascii` (none with a
 * byte above 127 in its name), `plain` (nor with `+` or `/`), `fold` (in lower case, and none with a byte above 127).
 */
import { createSocket } from "node:dgram";

/** Of the name in the question, which begins behind the header (RFC 1035, section 4.1.1) and is never compressed. */
function labels(query: Uint8Array, each: (byte: number, at: number) => void): void {
  for (let at = 12; at < query.length && query[at] !== 0; ) {
    const end = at + query[at]! + 1;
    while (++at < end) each(query[at]!, at);
  }
}

function passes(query: Uint8Array, what: string): boolean {
  if (what === "clean") return true;
  let clean = true;
  labels(query, (byte, at) => {
    if (byte > 127 || (what === "plain" && (byte === 43 || byte === 47))) clean = false;
    else if (what === "fold" && byte >= 65 && byte <= 90) query[at] = byte | 32;
  });
  return clean;
}

const [first = "0", ...servers] = process.argv.slice(2);
for (const [index, server] of servers.entries()) {
  const [address = "", what = ""] = server.split("=");
  const front = createSocket("udp4");
  front.on("message", (query, peer) => {
    if (!passes(query, what)) return;
    const back = createSocket("udp4");
    // A tunnel that is lazy answers when it has something to say.
    const timer = setTimeout(() => back.close(), 10_000);
    back.on("error", () => undefined);
    back.on("message", (answer) => {
      clearTimeout(timer);
      back.close();
      front.send(answer, peer.port, peer.address);
    });
    back.send(query, Number(first) + index, "127.0.0.1");
  });
  front.bind(53, address);
}
