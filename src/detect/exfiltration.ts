/**
 * Data that leaves, or comes in, inside lookups: a tunnel (iodine, dns2tcp, dnscat2) or a file cut into names. Each lookup
 * carries something new in the labels below a registrable domain whose owner reads it there. So for each container and
 * domain the bytes of labels that were not there before are summed up, over ten minutes and a day, and weighed by how they
 * look (label-payload.ts: words and numbers weigh little), by how long the name is and by the record type; and so
 * are, for names that are new, large answers of types that carry data, and the targets of aliases. An answer that other
 * names got too carries nothing. The figures stand in exfiltration-options.ts.
 *
 * What of a name is new, new-labels.ts says; which domains of a container are watched, container-traffic.ts.
 *
 * What is not seen: data in words, or in labels of less than six characters, one to a name; data in the order or time of
 * lookups; data spread over many registrable domains; what goes to an allowed domain. A service that is asked for digests
 * all day looks like a drip and has to be allowed. Names below arpa count by what is no address in them.
 *
 * Memory of a container: about 1.1 KiB for each domain that it asks for names below, at most `domains`, and 1 KiB more for at most
 * `largeDomains` that have more than 40 names: 100 KiB at the very most, some 10 KiB usually.
 */
import { wireToName } from "../name.ts";
import { AllowedNames } from "./allowed-names.ts";
import { ContainerTraffic } from "./container-traffic.ts";
import { type DomainTraffic, SUM } from "./domain-traffic.ts";
import { describeExfiltration, dnsOf } from "./exfiltration-finding.ts";
import { EXFILTRATION_DEFAULTS, type ExfiltrationOptions } from "./exfiltration-options.ts";
import { WORD } from "./label-payload.ts";
import { chanceBits } from "./lexical.ts";
import { rootAt } from "./name-end.ts";
import { DRAWN, NewLabels } from "./new-labels.ts";
import { registrableAt } from "./registrable.ts";
import { hashBytes } from "./sketch.ts";
import type { Detection, Detector, LookupEvent } from "./types.ts";

export interface ExfiltrationDetector extends Detector<LookupEvent> {
  /**
   * What was told of the domain that the lookup is below of, while it holds, with the lookup's own name; undefined for all
   * others. To be asked for every query, after `observe`: it costs next to nothing where nothing was told of the container.
   */
  suspicious(event: LookupEvent, now: number): Detection | undefined;
  readonly stats: { readonly containers: number; readonly domains: number; readonly bytes: number };
}

/** RFC 1035, RFC 2535, RFC 2782; private use: RFC 6895, section 3.1. */
const TYPE = { CNAME: 5, NULL: 10, MX: 15, TXT: 16, KEY: 25, SRV: 33, PRIVATE: 65_280 } as const;
/** Below this many bytes in all labels no domain is watched for a name's sake: `www`, `mail`. */
const SHORT = 5;
/** A domain that was told is told again when it has grown by this factor. */
const GROWTH = 10;
/** Length, and evidence that it is no word, from which a first label may be a tunnel's that has nothing to send. */
const POLL = 4;
const POLL_BITS = 4;
/** Of a name asked for an answer: what tells its hash from the name's own. */
const ANSWER = 0x5bd1e995;

export function createExfiltrationDetector(given: Partial<ExfiltrationOptions> = {}): ExfiltrationDetector {
  return new TrafficDetector({ ...EXFILTRATION_DEFAULTS, ...given });
}

class TrafficDetector implements ExfiltrationDetector {
  readonly #options: ExfiltrationOptions;
  readonly #allowed: AllowedNames;
  /** Hashes of the registrable domains that something allowed lies in; null: any, since a suffix of them is allowed. */
  readonly #allowedIn: ReadonlySet<number> | null;
  readonly #containers = new Map<string, ContainerTraffic>();
  readonly #labels = new NewLabels();

  constructor(options: ExfiltrationOptions) {
    this.#options = options;
    this.#allowed = new AllowedNames(options.allowed);
    const domains = this.#allowed.wires.map((wire) => ({ wire, at: registrableAt(wire, 0) }));
    this.#allowedIn = domains.some(({ at }) => at < 0)
      ? null
      : new Set(domains.map(({ wire, at }) => this.#hash(wire, at)));
  }

  observe(event: LookupEvent, now: number): Detection | undefined {
    const { bytes, offset } = event;
    const at = registrableAt(bytes, offset);
    if (at - offset <= SHORT) return undefined;
    const hash = this.#hash(bytes, at);
    if (this.#allowedIn?.has(hash) !== false && this.#allowed.cover(bytes, offset)) return undefined;
    const traffic = this.#trafficOf(event.container, now);
    const key = hash >>> 2;
    if (event.phase === "answer" && traffic.find(key) === undefined) return undefined;
    const domain = traffic.take(key, now);
    const added =
      event.phase === "query"
        ? this.#addQuery(domain, event, at, hash)
        : this.#addAnswer(domain, event, at, hash);
    return added ? this.#judge(traffic, domain, event, at, now) : undefined;
  }

  suspicious(event: LookupEvent, now: number): Detection | undefined {
    const traffic = this.#containers.get(event.container);
    if (traffic === undefined || !traffic.wasTold) return undefined;
    const { bytes, offset } = event;
    const at = registrableAt(bytes, offset);
    if (at < 0) return undefined;
    const hash = this.#hash(bytes, at);
    const domain = traffic.find(hash >>> 2);
    if (domain === undefined || domain.detection === null) return undefined;
    if (domain.until <= now) {
      traffic.release(domain);
      return undefined;
    }
    if (this.#allowed.cover(bytes, offset)) return undefined;
    domain.until = now + this.#options.hold;
    return { ...domain.detection, dns: dnsOf(event) };
  }

  forget(container: string): void {
    this.#containers.delete(container);
  }

  get stats() {
    let domains = 0;
    let bytes = 0;
    for (const traffic of this.#containers.values()) {
      domains += traffic.size;
      bytes += traffic.bytes;
    }
    return { containers: this.#containers.size, domains, bytes };
  }

  #hash(bytes: Uint8Array, at: number): number {
    return hashBytes(bytes, at, rootAt(bytes, at), this.#options.seed);
  }

  #trafficOf(container: string, now: number): ContainerTraffic {
    const known = this.#containers.get(container);
    if (known !== undefined) return known;
    if (this.#containers.size >= this.#options.containers) {
      for (const first of this.#containers.keys()) {
        this.#containers.delete(first);
        break;
      }
    }
    const traffic = new ContainerTraffic(this.#options, now);
    this.#containers.set(container, traffic);
    return traffic;
  }

  /** Adds the query's new labels to the sums; whether there were any. */
  #addQuery(domain: DomainTraffic, event: LookupEvent, at: number, hash: number): boolean {
    const { burstNames, dripNames, longName } = this.#options;
    const weight = this.#weightOf(event.type);
    const labels = this.#labels;
    const isNew = labels.measure(domain, event.bytes, event.offset, at, hash);
    domain.fast.addLookup(weight > 1);
    domain.slow.addLookup(weight > 1);
    if (!isNew) return false;
    const { size, payload, drawn, hexadecimal, binary } = labels;
    // Short labels are data only where there are many of them, which the slow window tells.
    const total = payload + drawn;
    domain.fast.addName(size, payload);
    domain.slow.addName(size, total);
    domain.rank += total;
    const looksDrawn = drawn + hexadecimal >= DRAWN * (1 - WORD);
    if (total >= dripNames.nameBytes || looksDrawn) domain.slow.count(total, total);
    const dense = payload - hexadecimal / 2;
    const long = binary || dense >= longName ? 2 : 1;
    if (dense >= burstNames.nameBytes) domain.fast.count(dense, dense * weight * long);
    return true;
  }

  /** Adds a large answer to a name that was not answered so before. */
  #addAnswer(domain: DomainTraffic, event: LookupEvent, at: number, hash: number): boolean {
    const { smallAnswer, smallTarget, dataType } = this.#options;
    const weight = this.#weightOf(event.type);
    const { bytes, offset, content = 0, carried = 0 } = event;
    // Of types that carry data the whole answer counts, which repeats the name; of others the names that it leads to.
    const size = weight === 1 ? carried - smallTarget : event.size - (at - offset) - smallAnswer;
    // Where an alias leads need not exist: a resolver that follows it says so.
    if (size <= 0 || (event.rcode !== 0 && weight > 1)) return false;
    // A tunnel's client asks on with short names, of a counter and noise; words are names of services and keys.
    const first = bytes[offset]!;
    if (first < POLL || chanceBits(bytes, offset + 1, first) <= POLL_BITS) return false;
    if (!domain.see(hashBytes(bytes, offset, at, hash ^ ANSWER))) return false;
    // What every name below a wildcard is told carries nothing: the same sender policy, the same notice of a block list.
    if (content !== 0 && !domain.see(content ^ ANSWER)) return false;
    domain.fast.add(SUM.ANSWERS_WEIGHED, weight === 1 ? size * dataType : size * weight);
    domain.fast.add(SUM.ANSWER_BYTES, event.size);
    domain.fast.add(SUM.COUNTING, 1);
    domain.slow.add(SUM.ANSWER_BYTES, event.size);
    domain.rank += size;
    return true;
  }

  #weightOf(type: number): number {
    if (type === TYPE.NULL || type === TYPE.KEY || type >= TYPE.PRIVATE) return this.#options.rareType;
    const carries = type === TYPE.TXT || type === TYPE.CNAME || type === TYPE.MX || type === TYPE.SRV;
    return carries ? this.#options.dataType : 1;
  }

  /** Something was added: tells the domain when that was too much, and it was not told before of as much. */
  #judge(
    traffic: ContainerTraffic,
    domain: DomainTraffic,
    event: LookupEvent,
    at: number,
    now: number,
  ): Detection | undefined {
    const burst = this.#isBurst(domain);
    if (!burst && !this.#isDrip(domain)) return undefined;
    const { hold } = this.#options;
    const window = burst ? domain.fast : domain.slow;
    const total = window.of(SUM.BYTES) + window.of(SUM.ANSWER_BYTES);
    if (domain.until > now && total < domain.toldBytes * GROWTH) return undefined;
    const { window: width } = burst ? this.#options.burst : this.#options.drip;
    const detection = describeExfiltration(window, width, wireToName(event.bytes, at), event);
    traffic.tell(domain, detection);
    domain.toldBytes = total;
    domain.until = now + hold;
    return detection;
  }

  #isBurst({ fast: window }: DomainTraffic): boolean {
    const { burst, burstNames } = this.#options;
    if (window.of(SUM.COUNTING) < burst.names) return false;
    const dense = window.of(SUM.COUNTED) >= window.of(SUM.PAYLOAD) * burstNames.share;
    return (dense ? window.of(SUM.NAMES_WEIGHED) : 0) + window.of(SUM.ANSWERS_WEIGHED) >= burst.bytes;
  }

  #isDrip({ slow: window }: DomainTraffic): boolean {
    const { drip, dripNames } = this.#options;
    return (
      window.of(SUM.COUNTING) >= drip.names &&
      window.of(SUM.NAMES_WEIGHED) >= drip.bytes &&
      window.of(SUM.COUNTED) >= window.of(SUM.PAYLOAD) * dripNames.share
    );
  }
}
