/**
 * The packet queue: every new outbound connection of a container, decided once. A batch comes from the kernel, each
 * packet of it is decided by `#decide` (read it top to bottom: it is the life of a packet), and the batch goes back with
 * one verdict each. The outcome travels as a bit of the packet's mark: NF_REPEAT sends the packet through our chain
 * again, which saves the bit to the connection (see ruleset.ts), and no later packet of the flow comes here.
 *
 * The verdict is never pre-set to accept: what cannot be decided takes the fail mode, and is counted.
 *
 * Length: the life of a packet and what each step counts, holds and tells are read together.
 */
import { formatAddress, ipv4Key, ipv6Key, isMapped, parseAddress } from "../address.ts";
import type { Clock } from "../clock.ts";
import type { NetworkConfig } from "../config.ts";
import type { ContainerTable, Resident } from "../container/table.ts";
import {
  type Native,
  NF,
  PACKET,
  type PacketQueue,
  type PacketQueueStats,
  VERDICT,
} from "../native/types.ts";
import type { ConnectionEvent, Decision, Finding, Observation, Policy } from "../policy/types.ts";
import { connectionFinding, portOf, spoofedSourceFinding } from "./finding.ts";
import { type HeldPacket, HeldPackets, type HoldKey } from "./hold.ts";
import type { InternalPrefixes } from "./internet.ts";
import { type FlowMarks, flowMarks } from "./marks.ts";
import { ObservedPorts } from "./observed.ts";
import type { FlowFacts } from "./outcomes.ts";
import { FRAGMENT, PARSE, type ParsedPacket, PROTOCOL, parsedPacket, parsePacket } from "./parse.ts";
import { RepeatedFindings } from "./repeat.ts";
import { sourceBelongsTo } from "./source.ts";

export interface PacketDependencies {
  readonly native: Native;
  readonly clock: Clock;
  readonly config: NetworkConfig;
  readonly failMode: "open" | "closed";
  /** Whether the rules redirect port 53 to the DNS server, which judges lookups itself. */
  readonly lookupsRedirected: boolean;
  /** Port of that DNS server, which a container may also address itself. */
  readonly dnsPort: number;
  readonly table: ContainerTable;
  readonly policy: () => Policy;
  readonly internal: () => InternalPrefixes;
  /** Names that the container resolved the address at `bytes[offset]` from, most recent first. */
  readonly names: (
    resident: Resident,
    bytes: Uint8Array,
    offset: number,
    length: number,
  ) => readonly string[];
  /** Takes every finding. On effect `block` the caller cuts the container off. */
  readonly report: (finding: Finding, resident: Resident) => void;
  readonly observe: (observation: Observation) => void;
  /**
   * Sees every new flow of containers whose rule has a use for it, behind its decision; `bytes` is what `packet` was parsed
   * from. The facts are used again for the next one.
   */
  readonly contact?: (resident: Resident, packet: ParsedPacket, bytes: Uint8Array, facts: FlowFacts) => void;
  /** Told once per veth while packets of it wait; `vethIndex` is 0 where the kernel names no bridge port. */
  readonly unknown: (vethIndex: number, source: string) => void;
  /** Told at most once a second of throws while deciding: the latest, and how many there were since. */
  readonly failed?: (error: Error, count: number) => void;
}

/** Counters since the start, but for `held`. */
export interface PacketStats {
  readonly packets: number;
  readonly allowed: number;
  readonly denied: number;
  /** Allowed without judgement: the DNS server judges them. */
  readonly lookups: number;
  /** Dropped because their container is cut off. */
  readonly cut: number;
  readonly spoofed: number;
  /** Identified by source address alone, because the kernel named no bridge port. */
  readonly addressOnly: number;
  /** Waiting now for their container to become known. */
  readonly held: number;
  readonly heldTotal: number;
  /** Waited in vain, and could not wait at all. */
  readonly expired: number;
  readonly notHeld: number;
  readonly unparseable: number;
  readonly fragments: number;
  readonly otherProtocols: number;
  /** Throws while deciding. */
  readonly errors: number;
  /** Passed or dropped by the fail mode, for any of the reasons above. */
  readonly failMode: number;
  readonly queue: PacketQueueStats;
}

export interface PacketHandler {
  stats(): PacketStats;
  /** The table has changed: packets whose container is known by now are decided. */
  containersChanged(): void;
  /** Gives what waits its fail mode, tells what was held back, closes the queue. */
  close(): void;
}

/** Bytes of a packet that are looked at: headers, with a long chain of extension headers. */
const COPY_RANGE = 512;
const BATCH = 128;
const RECEIVE_BUFFER = 4 << 20;
const LOOKUP_PORT = 53;
/** Refused connections remembered, so that their repetitions are counted and not told one by one. */
const MAX_REPEATED = 4096;
const FAILURE_INTERVAL = 1000;

const OUTCOME = {
  ALLOW: 0,
  DENY: 1,
  /** Dropped without a mark: the connection may belong to another container. */
  DROP: 2,
  FAIL: 3,
  HOLD: 4,
} as const;
type Outcome = (typeof OUTCOME)[keyof typeof OUTCOME];

/** Opens the queue and decides what comes, until closed. Throws the TM_NATIVE_* errors of `openPacketQueue`. */
export function startPackets(dependencies: PacketDependencies): PacketHandler {
  return new Packets(dependencies);
}

class Packets implements PacketHandler {
  readonly #deps: PacketDependencies;
  readonly #marks: FlowMarks;
  readonly #queue: PacketQueue;
  readonly #held: HeldPackets;
  readonly #repeated: RepeatedFindings<Resident>;
  readonly #packet = parsedPacket();
  /** The event of the packet in hand. Reused: `decide` is synchronous and keeps nothing. */
  readonly #event: { -readonly [Key in keyof ConnectionEvent]: ConnectionEvent[Key] };
  readonly #ipv4 = new Uint8Array(4);
  readonly #ipv6 = new Uint8Array(16);
  readonly #observed = new ObservedPorts();
  #failures = 0;
  #lastFailureTold = Number.NEGATIVE_INFINITY;
  readonly #count = {
    packets: 0,
    allowed: 0,
    denied: 0,
    lookups: 0,
    cut: 0,
    spoofed: 0,
    addressOnly: 0,
    heldTotal: 0,
    expired: 0,
    notHeld: 0,
    unparseable: 0,
    fragments: 0,
    otherProtocols: 0,
    errors: 0,
    failMode: 0,
  };

  readonly #facts = { dropped: false, named: false };

  constructor(dependencies: PacketDependencies) {
    const { native, clock, config, failMode } = dependencies;
    this.#deps = dependencies;
    this.#marks = flowMarks(config.markMask);
    this.#held = new HeldPackets({
      clock,
      time: config.holdTime,
      // What waits here also fills the kernel's queue: half of that is always left to those who are known.
      limit: Math.min(config.holdLimit, config.queueLength >> 1),
      expired: (packets) => this.#expire(packets),
    });
    this.#repeated = new RepeatedFindings<Resident>({
      clock,
      limit: MAX_REPEATED,
      tell: dependencies.report,
    });
    this.#event = {
      kind: "connection",
      // Set before each decision; there is no profile that stands for none.
      profile: {
        index: -1,
        rule: null,
        model: null,
        dnsEffect: "disable",
        networkEffect: "disable",
        suspicious: "disable",
        portScan: "disable",
      },
      protocol: 0,
      destination: this.#ipv4,
      port: 0,
      internet: false,
      names: [],
    };
    this.#queue = native.openPacketQueue(
      {
        queue: config.queue,
        copyRange: COPY_RANGE,
        maxLength: config.queueLength,
        failOpen: failMode === "open",
        conntrack: false,
        batch: BATCH,
        receiveBuffer: RECEIVE_BUFFER,
        failVerdict: failMode === "open" ? NF.ACCEPT : NF.DROP,
      },
      (count) => this.#batch(count),
    );
  }

  #batch(count: number): void {
    const { slab, meta, verdicts } = this.#queue;
    for (let index = 0; index < count; index++) {
      const row = index * PACKET.STRIDE;
      const offset = meta[row + PACKET.OFFSET]!;
      const captured = meta[row + PACKET.CAPTURED]!;
      const port = meta[row + PACKET.PHYS_IN_DEVICE]!;
      const device = meta[row + PACKET.IN_DEVICE]!;
      const mark = meta[row + PACKET.MARK]!;
      this.#count.packets++;
      let outcome = this.#decideSafely(slab, offset, captured, port, device);
      if (outcome === OUTCOME.HOLD) {
        outcome = this.#hold(slab, { id: meta[row + PACKET.ID]!, mark, port, device }, offset, captured);
      }
      const out = index * VERDICT.STRIDE;
      verdicts[out + VERDICT.CODE] = this.#code(outcome);
      verdicts[out + VERDICT.SET_MARK] = outcome <= OUTCOME.DENY ? 1 : 0;
      verdicts[out + VERDICT.MARK] = this.#mark(outcome, mark);
    }
  }

  /**
   * The life of a packet. `port` and `device` are the interface indexes of the bridge port and the interface it came in
   * by. The order is what makes it right: nobody is judged before it is known who sends.
   */
  #decide(bytes: Uint8Array, offset: number, captured: number, port: number, device: number): Outcome {
    const { table, policy, internal, lookupsRedirected, dnsPort, failMode } = this.#deps;
    const packet = this.#packet;
    const parsed = parsePacket(bytes, offset, captured, packet);

    // Who sends: the veth says it, whatever the source address claims.
    let resident = table.byVeth(port !== 0 ? port : device);
    if (resident === undefined && port === 0 && packet.version !== 0) {
      resident = table.byAddress(bytes, packet.sourceOffset, packet.addressLength);
      this.#count.addressOnly++;
    }
    if (resident === undefined || resident.profile === null) {
      if (parsed === PARSE.WHOLE) return OUTCOME.HOLD;
      this.#count.unparseable++;
      return OUTCOME.FAIL;
    }
    if (resident.cut) {
      this.#count.cut++;
      return OUTCOME.DROP;
    }
    if (parsed !== PARSE.WHOLE) {
      this.#count.unparseable++;
      return OUTCOME.FAIL;
    }

    // Whether it may use that source address. The DNS server knows its askers by address, so a lookup under a borrowed
    // one goes nowhere, whatever the effect: it would be judged, and audited, as its victim's.
    const mayBeDns = packet.protocol === PROTOCOL.UDP || packet.protocol === PROTOCOL.TCP;
    const lookup = mayBeDns && lookupsRedirected && packet.destinationPort === LOOKUP_PORT;
    const reachesDns = lookup || (mayBeDns && packet.destinationPort === dnsPort);
    if (!sourceBelongsTo(resident, table, packet, bytes)) {
      this.#count.spoofed++;
      const effect = resident.profile.networkEffect;
      if (effect !== "disable") this.#reportSpoofed(resident, bytes, effect);
      if (reachesDns || effect === "prevent" || effect === "block") {
        this.#contact(resident, bytes, true, false);
        return OUTCOME.DROP;
      }
    }
    if (lookup) {
      this.#count.lookups++;
      return OUTCOME.ALLOW;
    }
    if (packet.fragment === FRAGMENT.LATER) {
      this.#count.fragments++;
      return OUTCOME.FAIL;
    }

    // Where to, and whether it may.
    const event = this.#event;
    event.profile = resident.profile;
    event.protocol = packet.protocol;
    event.destination = this.#destination(bytes);
    event.port = portOf(packet);
    event.internet = !internal().contains(event.destination, 0, event.destination.length);
    event.names = this.#deps.names(resident, event.destination, 0, event.destination.length);
    const decision = policy().decide(event);
    this.#contact(resident, bytes, decision.verdict === "drop", event.names.length > 0);
    if (decision.learn) this.#learn(resident);
    else if (!event.internet && decision.effect === null) this.#learnInternal(resident);
    if (decision.effect !== null) this.#report(resident, decision, bytes);
    if (decision.verdict === "drop") {
      this.#count.denied++;
      return OUTCOME.DENY;
    }
    // A protocol whose ports nobody can see was judged by its address alone; the rest is the fail mode's.
    if (!packet.hasPorts && packet.protocol !== PROTOCOL.ICMP && packet.protocol !== PROTOCOL.ICMPV6) {
      this.#count.otherProtocols++;
      this.#count.failMode++;
      return failMode === "open" ? OUTCOME.ALLOW : OUTCOME.DENY;
    }
    this.#count.allowed++;
    return OUTCOME.ALLOW;
  }

  #contact(resident: Resident, bytes: Uint8Array, dropped: boolean, named: boolean): void {
    if (resident.profile?.portScan === "disable") return;
    this.#facts.dropped = dropped;
    this.#facts.named = named;
    this.#deps.contact?.(resident, this.#packet, bytes, this.#facts);
  }

  #decideSafely(bytes: Uint8Array, offset: number, captured: number, port: number, device: number): Outcome {
    try {
      return this.#decide(bytes, offset, captured, port, device);
    } catch (error) {
      this.#count.errors++;
      this.#failures++;
      const now = this.#deps.clock.monotonic();
      if (now - this.#lastFailureTold >= FAILURE_INTERVAL) {
        this.#lastFailureTold = now;
        this.#deps.failed?.(error instanceof Error ? error : new Error(String(error)), this.#failures);
        this.#failures = 0;
      }
      return OUTCOME.FAIL;
    }
  }

  #code(outcome: Outcome): number {
    switch (outcome) {
      case OUTCOME.ALLOW:
      case OUTCOME.DENY:
        return NF.REPEAT;
      case OUTCOME.DROP:
        return NF.DROP;
      case OUTCOME.HOLD:
        return NF.PENDING;
      case OUTCOME.FAIL:
        // Not NF_REPEAT: without a mark the packet would come straight back.
        this.#count.failMode++;
        return this.#deps.failMode === "open" ? NF.ACCEPT : NF.DROP;
    }
  }

  #mark(outcome: Outcome, mark: number): number {
    if (outcome > OUTCOME.DENY) return 0;
    const bit = outcome === OUTCOME.ALLOW ? this.#marks.allowed : this.#marks.denied;
    return ((mark & ~this.#marks.mask) | bit) >>> 0;
  }

  // -------------------------------------------------------------------------------------------- those not known yet

  #hold(bytes: Uint8Array, row: Omit<HeldPacket, "bytes">, offset: number, captured: number): Outcome {
    const packet = this.#packet;
    const source = formatAddress(bytes, packet.sourceOffset, packet.addressLength);
    const key: HoldKey = row.port !== 0 ? row.port : source;
    if (!this.#held.accepts(key)) {
      this.#count.notHeld++;
      return OUTCOME.FAIL;
    }
    const first = !this.#held.has(key);
    this.#held.add(key, { ...row, bytes: bytes.slice(offset, offset + captured) });
    this.#count.heldTotal++;
    if (first) this.#deps.unknown(row.port, source);
    return OUTCOME.HOLD;
  }

  containersChanged(): void {
    this.#held.forgetStrangers();
    for (const key of this.#held.keys()) {
      if (!this.#isKnown(key)) continue;
      for (const packet of this.#held.take(key)) {
        const { bytes, port, device } = packet;
        const outcome = this.#decideSafely(bytes, 0, bytes.length, port, device);
        // Known a moment ago; the only way back to waiting is the fail mode's, or it would wait for ever.
        this.#settle(packet, outcome === OUTCOME.HOLD ? OUTCOME.FAIL : outcome);
      }
    }
  }

  #isKnown(key: HoldKey): boolean {
    const { table } = this.#deps;
    if (typeof key === "number") return (table.byVeth(key)?.profile ?? null) !== null;
    const address = parseAddress(key);
    if (address === null) return false;
    return (table.byAddress(address, 0, address.length)?.profile ?? null) !== null;
  }

  #expire(packets: readonly HeldPacket[]): void {
    this.#count.expired += packets.length;
    for (const packet of packets) this.#settle(packet, OUTCOME.FAIL);
  }

  #settle(packet: HeldPacket, outcome: Outcome): void {
    this.#queue.verdict(
      packet.id,
      this.#code(outcome),
      outcome <= OUTCOME.DENY,
      this.#mark(outcome, packet.mark),
    );
  }

  // -------------------------------------------------------------------------------------------- what is told

  /** The destination in a scratch array, an IPv4-mapped one as IPv4. */
  #destination(bytes: Uint8Array): Uint8Array {
    const { destinationOffset: offset, addressLength: length } = this.#packet;
    const mapped = length === 16 && isMapped(bytes, offset);
    const scratch = length === 4 || mapped ? this.#ipv4 : this.#ipv6;
    const from = mapped ? offset + 12 : offset;
    for (let index = 0; index < scratch.length; index++) scratch[index] = bytes[from + index]!;
    return scratch;
  }

  #report(resident: Resident, decision: Decision, bytes: Uint8Array): void {
    const { effect, attackType } = decision;
    if (effect === null || attackType === null) return;
    const event = this.#event;
    const key =
      decision.verdict === "drop"
        ? `${resident.generation} ${attackType} ${event.protocol} ${event.port} ${addressKey(event.destination)}`
        : null;
    if (key !== null && this.#repeated.repeats(key)) return;
    const subject = { time: this.#deps.clock.now(), resident, packet: this.#packet, bytes };
    const finding = connectionFinding(subject, event, decision, { effect, attackType });
    if (key === null) this.#deps.report(finding, resident);
    else this.#repeated.tell(key, finding, resident);
  }

  #reportSpoofed(resident: Resident, bytes: Uint8Array, effect: Finding["effect"]): void {
    const key = `${resident.generation} spoofedSource`;
    if (this.#repeated.repeats(key)) return;
    const subject = { time: this.#deps.clock.now(), resident, packet: this.#packet, bytes };
    this.#repeated.tell(key, spoofedSourceFinding(subject, effect, this.#deps.policy().revision), resident);
  }

  #learn(resident: Resident): void {
    const { profile, protocol, port, internet } = this.#event;
    const { model } = profile;
    const { clock, observe } = this.#deps;
    if (model === null || !internet) return;
    if (!this.#observed.isNew(resident, model, protocol, port, clock.monotonic())) return;
    observe({
      kind: "outboundPort",
      model: model.key,
      container: resident.container.id,
      protocol,
      port,
      time: clock.now(),
    });
  }

  /** Nothing is judged by it, so that no decision says to learn it. */
  #learnInternal(resident: Resident): void {
    const { profile, protocol, port, destination } = this.#event;
    const { clock, observe } = this.#deps;
    const { model } = profile;
    // Only what has ports: a ping is no use of a place.
    if (!this.#packet.hasPorts || !model?.learning || profile.networkEffect === "disable") return;
    const subnet = subnetOf(destination);
    if (!this.#observed.isNewInside(resident, `${subnet} ${protocol} ${port}`, clock.monotonic())) return;
    const container = resident.container.id;
    const time = clock.now();
    observe({ kind: "internalDestination", model: model.key, container, protocol, subnet, port, time });
  }

  stats(): PacketStats {
    return { ...this.#count, held: this.#held.size, queue: this.#queue.stats() };
  }

  close(): void {
    for (const key of this.#held.keys()) this.#expire(this.#held.take(key));
    this.#repeated.flush();
    this.#queue.close();
  }
}

function addressKey(address: Uint8Array): string | number {
  return address.length === 4 ? ipv4Key(address) : ipv6Key(address);
}

/** The /24 of an address, or the /64. */
function subnetOf(address: Uint8Array): string {
  const network = address.slice();
  network.fill(0, address.length === 4 ? 3 : 8);
  return `${formatAddress(network)}/${address.length === 4 ? 24 : 64}`;
}
