/** DNS over TCP (RFC 7766): the two-byte length before each message, and a connection to an upstream. */
import { connect, type Socket } from "node:net";

/** Cuts a byte stream into messages, wherever segments begin and end. */
export class Frames {
  #header = 0;
  #headerBytes = 0;
  #body: Buffer | null = null;
  #filled = 0;

  /** Feeds a segment; `onMessage` gets each message that it completes. */
  push(segment: Uint8Array, onMessage: (message: Buffer) => void): void {
    let at = 0;
    while (at < segment.length) {
      if (this.#body === null) {
        this.#header = (this.#header << 8) | segment[at++]!;
        if (++this.#headerBytes < 2) continue;
        this.#body = Buffer.allocUnsafe(this.#header);
        this.#filled = 0;
      }
      const body = this.#body;
      const part = segment.subarray(at, at + body.length - this.#filled);
      body.set(part, this.#filled);
      this.#filled += part.length;
      at += part.length;
      if (this.#filled < body.length) continue;
      this.#header = 0;
      this.#headerBytes = 0;
      this.#body = null;
      onMessage(body);
    }
  }
}

/** The message with its length before it. */
export function frame(message: Uint8Array, length = message.length): Buffer {
  const framed = Buffer.allocUnsafe(length + 2);
  framed[0] = length >>> 8;
  framed[1] = length;
  framed.set(message.subarray(0, length), 2);
  return framed;
}

/** One connection to an upstream, over which several exchanges may be under way. It ends once and is not used again. */
export class UpstreamStream {
  readonly #socket: Socket;
  #ended = false;

  constructor(
    to: { readonly address: string; readonly port: number },
    onMessage: (message: Buffer) => void,
    onEnd: () => void,
  ) {
    const frames = new Frames();
    this.#socket = connect({ host: to.address, port: to.port, noDelay: true });
    this.#socket.unref();
    this.#socket.on("data", (segment: Buffer) => {
      frames.push(segment, (message) => {
        if (!this.#ended) onMessage(message);
      });
    });
    // An error is followed by `close`, and that is where every end is handled.
    this.#socket.on("error", () => this.#socket.destroy());
    this.#socket.on("end", () => this.#socket.destroy());
    this.#socket.on("close", () => {
      if (this.#ended) return;
      this.#ended = true;
      onEnd();
    });
  }

  send(message: Uint8Array): void {
    this.#socket.write(frame(message));
  }

  /** Ends it without telling `onEnd`. */
  close(): void {
    this.#ended = true;
    this.#socket.destroy();
  }
}
