/** Bytes that grow by doubling. */
export class Growing {
  bytes: Buffer;
  length = 0;

  constructor(capacity: number) {
    this.bytes = Buffer.alloc(capacity);
  }

  /** Makes room for `count` more bytes. */
  reserve(count: number): void {
    if (this.length + count <= this.bytes.length) return;
    const grown = Buffer.alloc(Math.max(this.bytes.length * 2, this.length + count));
    grown.set(this.bytes);
    this.bytes = grown;
  }

  append(bytes: Uint8Array): void {
    this.reserve(bytes.length);
    this.bytes.set(bytes, this.length);
    this.length += bytes.length;
  }

  /** A copy of exactly the bytes held. */
  content(): Uint8Array {
    return new Uint8Array(this.bytes.subarray(0, this.length));
  }

  /** The bytes held, given away: a copy only where they are so few of what was made room for that it should be let go. */
  given(): Uint8Array {
    if (this.length < this.bytes.length - (this.bytes.length >>> 2)) return this.content();
    return new Uint8Array(this.bytes.buffer, this.bytes.byteOffset, this.length);
  }

  /** The bytes from `start` to the end as ASCII text. */
  text(start: number): string {
    return this.bytes.toString("latin1", start, this.length);
  }
}
