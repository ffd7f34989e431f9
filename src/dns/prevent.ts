/** How a prevented lookup is answered: an appliance setting, because what suits depends on who asks. */
import { parseAddress } from "../address.ts";
import type { DnsConfig } from "../config.ts";
import { RCODE, TYPE } from "./message.ts";
import { type Asked, EDE_BLOCKED, writeNegative, writeRefusal, writeSinkhole } from "./reply.ts";

/**
 * `drop`: silence, the asker runs into its timeout. `nxdomain`: at once, and kept for seconds by its SOA. `refused`: C
 * libraries move on to their next server. `sinkhole`: an address where somebody may listen; other types have no data.
 * All but the first carry the extended error "Blocked".
 */
export class Prevention {
  readonly #response: DnsConfig["preventResponse"];
  readonly #udpSize: number;
  readonly #ipv4: Uint8Array | null;
  readonly #ipv6: Uint8Array | null;

  constructor(config: DnsConfig) {
    this.#response = config.preventResponse;
    this.#udpSize = config.udpSize;
    this.#ipv4 = parseAddress(config.sinkhole.ipv4);
    this.#ipv6 = parseAddress(config.sinkhole.ipv6);
  }

  /** Writes the reply behind the question at `bytes[at]`; returns its length, or 0 for none. */
  write(bytes: Uint8Array, at: number, asked: Asked): number {
    switch (this.#response) {
      case "drop":
        return 0;
      case "nxdomain":
        return writeNegative(bytes, at, asked, RCODE.NXDOMAIN, this.#udpSize, EDE_BLOCKED);
      case "refused":
        return writeRefusal(bytes, at, asked, RCODE.REFUSED, this.#udpSize, EDE_BLOCKED);
      case "sinkhole": {
        const address = asked.type === TYPE.A ? this.#ipv4 : asked.type === TYPE.AAAA ? this.#ipv6 : null;
        if (address !== null) return writeSinkhole(bytes, at, asked, address, this.#udpSize);
        return writeNegative(bytes, at, asked, RCODE.NOERROR, this.#udpSize, EDE_BLOCKED);
      }
    }
  }
}
