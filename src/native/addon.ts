/** The raw functions of `tidesman.node`, and where it is found. Only this folder uses them. */
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { TidesmanError } from "../errors.ts";
import type { DomainParts } from "./domain-build.ts";
import type { DomainWalk, WalkParts } from "./domain-walk.ts";
import type { Link } from "./types.ts";

/** An object of the addon that keeps something open; opaque. */
export type Handle = object;

export interface RawPacketQueueOptions {
  readonly queue: number;
  readonly copyRange: number;
  readonly maxLength: number;
  readonly failOpen: boolean;
  readonly conntrack: boolean;
  readonly batch: number;
  readonly receiveBuffer: number;
  readonly failVerdict: number;
}

export interface RawUdpArenaOptions {
  readonly slots: number;
  readonly slotSize: number;
  readonly maxSends: number;
  readonly rounds: number;
}

/** Absent options are `peerAddress` "", `fd` -1 and `mark` -1. */
export interface RawUdpSocketOptions {
  readonly family: number;
  readonly address: string;
  readonly port: number;
  readonly peerAddress: string;
  readonly peerPort: number;
  readonly firstSlot: number;
  readonly batch: number;
  readonly buffer: number;
  readonly reusePort: boolean;
  readonly fd: number;
  readonly mark: number;
}

/** Errors thrown carry the errno's name in `code`, and the step that failed in `message`. */
export interface Addon {
  openPacketQueue(
    options: RawPacketQueueOptions,
    onBatch: (count: number) => void,
  ): {
    readonly handle: Handle;
    readonly slab: Uint8Array;
    readonly meta: Uint32Array;
    readonly verdicts: Uint32Array;
    /** packets, batches, pending, truncated, malformed, sendErrors, verdictErrors, callbackErrors */
    readonly counters: Float64Array;
    readonly conntrack: boolean;
  };
  packetQueueVerdict(queue: Handle, id: number, code: number, setMark: boolean, mark: number): void;
  packetQueueOverruns(queue: Handle): number;
  closePacketQueue(queue: Handle): void;
  openUdpArena(
    options: RawUdpArenaOptions,
    onBatch: (socket: number, count: number) => void,
  ): {
    readonly handle: Handle;
    readonly memory: Uint8Array;
    readonly meta: Int32Array;
    readonly sends: Int32Array;
    readonly control: Int32Array;
    /** received, sent, batches, truncated, sendErrors, refused, callbackErrors */
    readonly counters: Float64Array;
  };
  openUdpSocket(
    arena: Handle,
    options: RawUdpSocketOptions,
  ): { readonly handle: Handle; readonly index: number; readonly port: number };
  flushUdpArena(arena: Handle): void;
  closeUdpArena(arena: Handle): void;
  udpSocketRefused(socket: Handle): number;
  closeUdpSocket(socket: Handle): void;
  listLinks(namespace: string): Link[];
  setLink(index: number, up: boolean): void;
  watchLinks(onChange: () => void): Handle;
  unwatchLinks(watch: Handle): void;
  changeIpset(
    add: boolean,
    set: string,
    address: string,
    prefixLength: number,
    timeout: number,
    hasTimeout: boolean,
  ): void;
  deleteConntrack(address: string, port: number): number;
  markConntrack(address: string, mark: number, mask: number): number;
  conntrackStates(flows: Uint8Array, count: number): void;
  resetConnections(namespace: string): number;
  listListeners(namespace: string): Uint32Array;
  openDomainSet(parts: WalkParts): DomainWalk;
  watchReadable(descriptor: number, onReadable: () => void): Handle;
  unwatchReadable(watch: Handle): void;
  buildDomains(lists: readonly Uint8Array[], key0: number, key1: number): DomainParts;
}

/** All of them, so that an addon of other sources is known by what it lacks. */
const FUNCTIONS = Object.keys({
  openPacketQueue: true,
  packetQueueVerdict: true,
  packetQueueOverruns: true,
  closePacketQueue: true,
  openUdpArena: true,
  openUdpSocket: true,
  flushUdpArena: true,
  closeUdpArena: true,
  udpSocketRefused: true,
  closeUdpSocket: true,
  listLinks: true,
  setLink: true,
  watchLinks: true,
  unwatchLinks: true,
  changeIpset: true,
  deleteConntrack: true,
  markConntrack: true,
  conntrackStates: true,
  resetConnections: true,
  listListeners: true,
  openDomainSet: true,
  watchReadable: true,
  unwatchReadable: true,
  buildDomains: true,
} satisfies Record<keyof Addon, true>);

/** Beside this file (source and built form), or in the source tree when only that was built. */
const PLACES: readonly string[] = ["./tidesman.node", "../../src/native/tidesman.node"].map((place) =>
  fileURLToPath(new URL(place, import.meta.url)),
);

/** Loads the addon from the first of `places` that exists. Throws TM_NATIVE_MISSING. */
export function loadAddon(places: readonly string[] = PLACES): Addon {
  const place = places.find((candidate) => existsSync(candidate));
  const remedy = "build it with `make -C src/native` (needs g++ and make), or run `scripts/setup`";
  if (place === undefined) {
    throw new TidesmanError("TM_NATIVE_MISSING", `the native addon \`${places[0]}\` is missing: ${remedy}`);
  }
  const refuse = (why: string, cause?: unknown): never => {
    throw new TidesmanError("TM_NATIVE_MISSING", `the native addon \`${place}\` ${why}: ${remedy}`, {
      cause,
    });
  };
  let addon: Partial<Addon>;
  try {
    addon = createRequire(import.meta.url)(place);
  } catch (error) {
    return refuse(`cannot be loaded (${error instanceof Error ? error.message : String(error)})`, error);
  }
  const isWhole = (candidate: Partial<Addon>): candidate is Addon =>
    FUNCTIONS.every((name) => name in candidate);
  return isWhole(addon) ? addon : refuse("was built from other sources");
}
