/** Which outbound ports were told to the models already, so that a port is told once and not with every connection. */
import type { Resident } from "../container/table.ts";
import type { ModelView } from "../policy/types.ts";

/** Ports remembered per container; beyond that they are told again. */
const MAX_PORTS = 4096;
/** Milliseconds that a model has to take a port in before it is told again: it may have been told to learn anew. */
const AGAIN = 30_000;
/** Milliseconds after which an internal destination, which no model tells whether it holds it, is told again. */
const AGAIN_INSIDE = 600_000;

export class ObservedPorts {
  /** Container -> protocol and port -> when it was told. */
  readonly #told = new WeakMap<Resident, Map<number, number>>();
  readonly #toldInside = new WeakMap<Resident, Map<string, number>>();

  /**
   * Whether a learning model has not been told yet that the container used the port, or was told and does not hold it;
   * remembers that it now has. `now`: monotonic milliseconds.
   */
  isNew(resident: Resident, model: ModelView, protocol: number, port: number, now: number): boolean {
    if (!model.learning) return false;
    let told = this.#told.get(resident);
    if (told === undefined || told.size >= MAX_PORTS) {
      told = new Map();
      this.#told.set(resident, told);
    }
    const key = protocol * 65536 + port;
    const last = told.get(key);
    if (last !== undefined && (now - last < AGAIN || model.outboundPort(protocol, port))) return false;
    told.set(key, now);
    return true;
  }

  /** The same for an internal destination, by whatever text stands for it. */
  isNewInside(resident: Resident, key: string, now: number): boolean {
    let told = this.#toldInside.get(resident);
    if (told === undefined || told.size >= MAX_PORTS) {
      told = new Map();
      this.#toldInside.set(resident, told);
    }
    const last = told.get(key);
    if (last !== undefined && now - last < AGAIN_INSIDE) return false;
    told.set(key, now);
    return true;
  }
}
