/**
 * A model as the data thread uses it: names in wire form in two hash tables, so that a look-up reads the bytes of the
 * question and makes no string.
 */
import { nameToWire } from "../name.ts";
import type { ModelState, ModelView } from "../policy/types.ts";
import { type ModelSnapshot, portKey } from "./model.ts";
import { LabelHash, WireTable } from "./wire-table.ts";

export interface MutableModelView extends ModelView {
  /**
   * Takes over a newer snapshot of the same model; the object stays, and with it what is keyed by it. Costs what is new
   * in the snapshot; only removed entries make it build its tables again.
   */
  replace(snapshot: ModelSnapshot): void;
}

/** Throws nothing: an entry that is no name, which only another program can have stored, covers nothing. */
export function openModel(snapshot: ModelSnapshot): MutableModelView {
  return new SnapshotView(snapshot);
}

class SnapshotView implements MutableModelView {
  readonly key: string;
  state: ModelState;
  learning: boolean;
  readonly #hash = new LabelHash();
  #exact = new WireTable();
  /** Parents of `*.parent` entries. */
  #below = new WireTable();
  #names = new Set<string>();
  #ports = new Set<number>();
  #listening = new Set<number>();
  /** Where the labels of the latest name begin, and the hashes of the suffixes there; reused by every look-up. */
  readonly #labels = new Int32Array(128);
  readonly #hashes = new Int32Array(128);

  constructor(snapshot: ModelSnapshot) {
    this.key = snapshot.key;
    this.state = snapshot.state;
    this.learning = snapshot.learning;
    this.replace(snapshot);
  }

  name(bytes: Uint8Array, offset: number): string | null {
    const length = this.#read(bytes, offset);
    return length === 0 ? null : this.#covering(bytes, offset, length);
  }

  outboundPort(protocol: number, port: number): boolean {
    return this.#ports.has(protocol * 65536 + port);
  }

  listeningPort(protocol: number, port: number): boolean {
    return this.#listening.has(protocol * 65536 + port);
  }

  replace(snapshot: ModelSnapshot): void {
    const names = new Set(snapshot.names);
    this.#ports = new Set(snapshot.outboundPorts.map(portKey));
    this.#listening = new Set(snapshot.listeningPorts.map(portKey));

    let known = 0;
    for (const name of names) if (this.#names.has(name)) known++;
    if (known < this.#names.size) {
      this.#exact = new WireTable();
      this.#below = new WireTable();
      this.#names = new Set();
    }
    for (const name of names) if (!this.#names.has(name)) this.#add(name);
    this.#names = names;
    this.state = snapshot.state;
    this.learning = snapshot.learning;
  }

  #add(name: string): void {
    const below = name.startsWith("*.");
    const wire = nameToWire(below ? name.slice(2) : name);
    if (wire === null || this.#read(wire, 0) === 0) return;
    (below ? this.#below : this.#exact).add(this.#hashes[0]!, wire, name);
  }

  /** Finds the labels and hashes of the name; its length, or 0 for bytes that are no uncompressed name. */
  #read(bytes: Uint8Array, offset: number): number {
    let count = 0;
    let end = offset;
    for (let length = bytes[end]; length !== 0; length = bytes[end]) {
      if (length === undefined || length > 63) return 0;
      this.#labels[count++] = end;
      end += length + 1;
      if (end - offset > 254) return 0;
    }
    let hash = this.#hash.start;
    for (let label = count - 1; label >= 0; label--) {
      hash = this.#hash.add(hash, bytes, this.#labels[label]!);
      this.#hashes[label] = hash;
    }
    // The root, which has no label, hashes to the beginning.
    if (count === 0) this.#hashes[0] = hash;
    this.#labels[count] = end;
    return end + 1 - offset;
  }

  /** The entry that covers the name last read, the exact one first, then the longest parent. */
  #covering(bytes: Uint8Array, offset: number, length: number): string | null {
    const exact = this.#exact.find(this.#hashes[0]!, bytes, offset, length);
    if (exact !== null || this.#below.size === 0) return exact;
    const end = offset + length;
    for (let label = 1; this.#labels[label]! < end - 1; label++) {
      const at = this.#labels[label]!;
      const below = this.#below.find(this.#hashes[label]!, bytes, at, end - at);
      if (below !== null) return below;
    }
    return null;
  }
}
