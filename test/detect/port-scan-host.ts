/** The host of the port scan tests: the real packet handler with its rules, and the watch behind it. Run by child.ts. */
import { formatAddress } from "../../src/address.ts";
import { systemClock as clock } from "../../src/clock.ts";
import type { NetworkConfig } from "../../src/config.ts";
import { ContainerTable, type Resident } from "../../src/container/table.ts";
import type { Container } from "../../src/container/types.ts";
import { loadNative } from "../../src/native/native.ts";
import { type Native, PACKET, type PacketQueue, VERDICT } from "../../src/native/types.ts";
import { InternalPrefixes } from "../../src/packet/internet.ts";
import { flowMarks } from "../../src/packet/marks.ts";
import { PARSE, parsedPacket, parsePacket } from "../../src/packet/parse.ts";
import { startPackets } from "../../src/packet/queue.ts";
import { Ruleset } from "../../src/packet/ruleset.ts";
import { ALIVE_ENTRIES, ALIVE_TIMEOUT, SETS } from "../../src/packet/sets.ts";
import type { Policy, Profile } from "../../src/policy/types.ts";
import { PortScans } from "../../src/port-scans.ts";
import { run } from "../../src/run.ts";
import { serve } from "../packet/child.ts";
import { ALLOW, DENY, PROFILE } from "../packet/doubles.ts";

/** First contacts and detections since `begin`. */
export interface ScanState {
  readonly detections: readonly {
    readonly kind: string;
    readonly message: string;
    /** Packets of the container seen before, and milliseconds since the first of them. */
    readonly packets: number;
    readonly after: number;
  }[];
  readonly packets: number;
  /** Flows whose end is not known yet. */
  readonly waiting: number;
}

const kernel = loadNative();
const table = new ContainerTable();
const detections: ScanState["detections"][number][] = [];
let packets = 0;
let firstAt = 0;
let scans: PortScans<Resident> | undefined;
const errors: string[] = [];

const profile: Profile = { ...PROFILE, portScan: "alert" };

/** The addon, with what the queue decides shown to the watch, as the queue itself will. */
function tapped(allowed: number): Native {
  const packet = parsedPacket();
  const openPacketQueue: Native["openPacketQueue"] = (options, onBatch) => {
    let queue: PacketQueue | undefined;
    const show = (count: number): void => {
      onBatch(count);
      if (queue === undefined) return;
      const { slab, meta, verdicts } = queue;
      for (let index = 0; index < count; index++) {
        const row = index * PACKET.STRIDE;
        const captured = meta[row + PACKET.CAPTURED]!;
        if (parsePacket(slab, meta[row + PACKET.OFFSET]!, captured, packet) !== PARSE.WHOLE) continue;
        const resident = table.byVeth(meta[row + PACKET.PHYS_IN_DEVICE]!);
        if (resident === undefined) continue;
        if (packets++ === 0) firstAt = clock.monotonic();
        const dropped = ((verdicts[index * VERDICT.STRIDE + VERDICT.MARK] ?? 0) & allowed) === 0;
        scans?.contact(resident, packet, slab, { dropped, named: false });
      }
    };
    queue = kernel.openPacketQueue(options, show);
    return queue;
  };
  return new Proxy(kernel, {
    get(target, key) {
      if (key === "openPacketQueue") return openPacketQueue;
      const value: unknown = Reflect.get(target, key);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

serve({
  async start(options: { config: NetworkConfig; denied: string }) {
    const { config, denied } = options;
    const policy: Policy = {
      revision: 1,
      profileFor: () => profile,
      withFeeds: () => policy,
      weigh: () => ALLOW,
      decide: (event) =>
        event.kind === "connection" && formatAddress(event.destination).startsWith(denied) ? DENY : ALLOW,
    };
    scans = new PortScans({
      native: kernel,
      clock,
      detector: {},
      detected: ({ attackType, message }) =>
        detections.push({ kind: attackType, message, packets, after: clock.monotonic() - firstAt }),
      failed: (error) => errors.push(error.message),
    });
    const internal = new InternalPrefixes([]);
    startPackets({
      native: tapped(flowMarks(config.markMask).allowed),
      clock,
      config,
      failMode: "closed",
      lookupsRedirected: true,
      dnsPort: 5303,
      table,
      policy: () => policy,
      internal: () => internal,
      names: () => [],
      report: () => undefined,
      observe: () => undefined,
      unknown: () => undefined,
      failed: (error) => errors.push(error.message),
    });
    const dns = { port: 5303, redirect: true, rate: 1000 };
    const warn = (message: string): unknown => errors.push(message);
    await new Ruleset({ config, dns, failMode: "closed", run, clock, native: kernel, warn }).install([]);
    for (const entry of ALIVE_ENTRIES) {
      kernel.ipsetAdd(entry.includes(":") ? SETS.alive6 : SETS.alive4, entry, ALIVE_TIMEOUT);
    }
    // Keeps the process alive: timers of the clock do not.
    setInterval(() => undefined, 60_000);
  },
  links: () => kernel.links(),
  add(container: Container) {
    table.upsert(container).profile = profile;
  },
  setKnown: () => undefined,
  /** Forgets what the container did. */
  begin() {
    for (const resident of table) scans?.forget(resident);
    detections.length = 0;
    packets = 0;
  },
  scanState: (): ScanState => {
    if (errors.length > 0) throw new Error(errors.join("; "));
    return { detections, packets, waiting: scans?.stats.waiting ?? 0 };
  },
});
