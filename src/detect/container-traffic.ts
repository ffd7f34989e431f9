/** The domains that one container asks for names below, in fixed memory. */
import { DomainTraffic } from "./domain-traffic.ts";
import type { ExfiltrationOptions } from "./exfiltration-options.ts";

const HOUR = 3_600_000;
/** Rank that no traffic reaches: what is held stays longest. */
const HELD = 1e12;

export class ContainerTraffic {
  readonly #options: ExfiltrationOptions;
  readonly #domains = new Map<number, DomainTraffic>();
  #halved: number;
  #large = 0;
  #told = 0;

  constructor(options: ExfiltrationOptions, now: number) {
    this.#options = options;
    this.#halved = now;
  }

  get size(): number {
    return this.#domains.size;
  }

  /** Whether anything was told: if not, nothing can be suspicious. */
  get wasTold(): boolean {
    return this.#told > 0;
  }

  /** `key`: 30 bits of the hash of the registrable domain. */
  find(key: number): DomainTraffic | undefined {
    return this.#domains.get(key);
  }

  /** The domain of that key, in the place of another one where there is no room; its windows are those of `now`. */
  take(key: number, now: number): DomainTraffic {
    this.#halve(now);
    let domain = this.#domains.get(key);
    if (domain === undefined) {
      domain = this.#vacant(now);
      this.#domains.set(key, domain);
    }
    if (domain.needsLarge) {
      if (this.#large >= this.#options.largeDomains) this.#evict(true, now);
      domain.enlarge();
      this.#large++;
    }
    domain.turn(now);
    return domain;
  }

  tell(domain: DomainTraffic, detection: NonNullable<DomainTraffic["detection"]>): void {
    if (domain.detection === null) this.#told++;
    domain.detection = detection;
  }

  /** It is over: the domain can be told anew. */
  release(domain: DomainTraffic): void {
    if (domain.detection !== null) this.#told--;
    domain.detection = null;
    domain.until = 0;
  }

  get bytes(): number {
    let bytes = 200;
    for (const domain of this.#domains.values()) bytes += domain.bytes;
    return bytes;
  }

  /** What was much long ago gives way to what is some now. */
  #halve(now: number): void {
    if (now - this.#halved < HOUR) return;
    const factor = 2 ** -Math.floor((now - this.#halved) / HOUR);
    for (const domain of this.#domains.values()) domain.rank *= factor;
    this.#halved = now;
  }

  #vacant(now: number): DomainTraffic {
    const { domains, burst, drip } = this.#options;
    const evicted = this.#domains.size >= domains ? this.#evict(false, now) : undefined;
    if (evicted === undefined) return new DomainTraffic(burst.window, drip.window, now);
    evicted.reset(now);
    return evicted;
  }

  /** Drops the domain with the least bytes, of the large ones only or of all, and returns it. */
  #evict(largeOnly: boolean, now: number): DomainTraffic | undefined {
    let least = Number.POSITIVE_INFINITY;
    let key = -1;
    for (const [other, domain] of this.#domains) {
      if (largeOnly && !domain.isLarge) continue;
      const rank = domain.until > now ? domain.rank + HELD : domain.rank;
      if (rank >= least) continue;
      least = rank;
      key = other;
    }
    const evicted = this.#domains.get(key);
    if (evicted === undefined) return undefined;
    this.#domains.delete(key);
    if (evicted.isLarge) this.#large--;
    if (evicted.detection !== null) this.#told--;
    return evicted;
  }
}
