/** Rows of `Native.listeners` as objects. */
import { LISTENER } from "./types.ts";

export interface ListeningSocket {
  /** IP protocol number: 6 or 17. */
  readonly protocol: number;
  /** 4 or 16 bytes in network order, as it is bound. */
  readonly address: Uint8Array;
  readonly port: number;
  /** 0 when no process holds it. */
  readonly inode: number;
  readonly uid: number;
}

export function readListeners(rows: Uint32Array): ListeningSocket[] {
  const sockets: ListeningSocket[] = [];
  for (let row = 0; row + LISTENER.STRIDE <= rows.length; row += LISTENER.STRIDE) {
    const start = rows.byteOffset + (row + LISTENER.ADDRESS) * 4;
    const length = rows[row + LISTENER.FAMILY] === 4 ? 4 : 16;
    sockets.push({
      protocol: rows[row + LISTENER.PROTOCOL]!,
      address: new Uint8Array(rows.buffer.slice(start, start + length)),
      port: rows[row + LISTENER.PORT]!,
      inode: rows[row + LISTENER.INODE]!,
      uid: rows[row + LISTENER.UID]!,
    });
  }
  return sockets;
}
