/** What the conformance suite needs of the surroundings of a Native: a little traffic, and a look at its effects. */
import type { FakeIpsetOptions } from "../../src/native/fake.ts";
import type { Native } from "../../src/native/types.ts";

/** Number of the packet queue that `World.sendPacket` runs through. */
export const QUEUE = 7;
/** Bits of the mark that lead a packet around the queue. */
export const PASSED_MARK = 0x1;

export const FAMILIES = [4, 6] as const;

/** Addresses that exist in every world, two per family. */
/** Destination port of the flow that `makeFlow` makes. */
export const FLOW_PORT = 9002;

export const ADDRESSES = {
  4: { first: "198.51.100.1", second: "198.51.100.2" },
  6: { first: "2001:db8::1", second: "2001:db8::2" },
} as const;

/** A plain UDP socket, on the second address of its family. */
export interface Peer {
  readonly port: number;
  /** What came in, and from where. */
  readonly received: { readonly bytes: Uint8Array; readonly address: string; readonly port: number }[];
  send(bytes: Uint8Array, address: string, port: number): void;
  close(): void;
}

export interface World {
  readonly native: Native;
  /** Sends one UDP datagram of a new flow through the packet queue; without a listener it is lost. */
  sendPacket(family: 4 | 6, payload: Uint8Array): void;
  /** First bytes of the datagrams that got through the queue, in order. */
  readonly arrived: readonly number[];
  peer(family: 4 | 6): Promise<Peer>;
  createIpset(name: string, options: FakeIpsetOptions): void;
  /** Sorted; timeouts left out. */
  ipsetEntries(name: string): string[];
  /** Makes a connection tracking entry from the first address to the second, with that mark. */
  makeFlow(family: 4 | 6, mark: number): Promise<void>;
  /** Mark of the entry from the first address to the second, or undefined. */
  flowMark(family: 4 | 6): number | undefined;
  /** Source port of the flow of `makeFlow`, and an answer to it. */
  flowSource(family: 4 | 6): number;
  answerFlow(family: 4 | 6): Promise<void>;
  /** Path of a network namespace, in which `listen` opens sockets on the first address of a family. */
  readonly namespace: string;
  /** A listening TCP socket, a bound UDP socket, or one that is connected to the second address. */
  listen(family: 4 | 6, kind: "tcp" | "udp" | "connected"): Promise<{ readonly port: number; close(): void }>;
  /** A descriptor, and a way to give it something to read. */
  readable(): { readonly descriptor: number; write(): void; close(): void };
  /** Changes the interfaces of our own namespace. */
  changeLinks(): void;
  /** Interface index of a link that nothing else uses. */
  spareLink(): number;
  close(): void;
}

/** Waits, bounded, until `condition` holds. */
export async function until(what: string, condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 15_000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`waited in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
