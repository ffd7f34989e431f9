/** What the detectors beside lookups and port scans cost, each for one event of its own kind. */
import { IncidentDetector } from "../../src/audit/incident-detector.ts";
import { systemClock } from "../../src/clock.ts";
import { ListeningPorts } from "../../src/detect/listening-ports.ts";
import { RawSockets } from "../../src/detect/raw-sockets.ts";
import { WatchedNamespaces } from "../../src/detect/sockets/namespaces.ts";
import type { ProcessTable } from "../../src/detect/sockets/processes.ts";
import { readRawTables } from "../../src/detect/sockets/raw-tables.ts";
import { parseTrace } from "../../src/detect/sockets/trace-instance.ts";
import { readListeners } from "../../src/native/listener-rows.ts";
import { loadNative } from "../../src/native/native.ts";
import { encryptedDNS } from "../../src/policy/encrypted-dns.ts";
import { isInside } from "../../src/policy/rebinding.ts";
import type { Finding } from "../../src/policy/types.ts";

const NAMESPACES = 200;
const EVENTS = 20_000;
const ROUNDS = 9;
/** At the default interval every namespace is looked into once in so many milliseconds. */
const INTERVAL = 10_000;

export interface WatcherFigures {
  /** Microseconds for a look into one network namespace in which nothing changed; null without root. */
  readonly listeners: number | null;
  readonly rawTables: number | null;
  /** The share of a core that both take for NAMESPACES of them; null without root. */
  readonly share: number | null;
  /** Nanoseconds: a line of the trace of socket(2), a finding on its way to an incident, an address, a connection. */
  readonly trace: number;
  readonly incidents: number;
  readonly rebinding: number;
  readonly encryptedDNS: number;
}

export function measureWatchers(): WatcherFigures {
  const looks = process.getuid?.() === 0 ? measureLooks() : null;
  const share =
    looks === null ? null : ((looks.listeners + looks.rawTables) * NAMESPACES) / (INTERVAL * 1000);
  const line =
    "         tcpdump-4711    [001] .....  5352.142717: sys_socket(family: 0x11, type: 0x80003, protocol: 0x300)";
  const addresses = Array.from({ length: EVENTS }, (_, index) => {
    return Uint8Array.of(index % 223, 184, index >> 8, index & 255);
  });
  return {
    listeners: looks?.listeners ?? null,
    rawTables: looks?.rawTables ?? null,
    share,
    trace: median(() => {
      let calls = 0;
      for (let event = 0; event < EVENTS; event++) if (parseTrace(line)?.kind === "call") calls++;
      return calls;
    }),
    incidents: median(measureIncidents),
    rebinding: median(() => addresses.reduce((inside, address) => inside + (isInside(address) ? 1 : 0), 0)),
    encryptedDNS: median(() =>
      addresses.reduce((found, address) => found + (encryptedDNS(address, 443, []) === null ? 0 : 1), 0),
    ),
  };
}

/** In the namespace of this process, as if it were each container's. */
function measureLooks(): { readonly listeners: number; readonly rawTables: number } {
  const native = loadNative();
  const namespaces = new WatchedNamespaces((path) => Number(/\d+/.exec(path)?.[0] ?? 0));
  for (let index = 1; index <= NAMESPACES; index++) {
    namespaces.upsert({ id: `container-${index}`, pid: index, networkNamespace: `/${index}` });
  }
  const processes: ProcessTable = { holders: () => new Map(), find: () => undefined };
  const common = { namespaces, processes, clock: systemClock, interval: INTERVAL };
  const ports = new ListeningPorts({
    ...common,
    list: () => native.listeners("/proc/self/ns/net"),
    read: readListeners,
    udpSettle: 0,
    onListener: () => undefined,
    onFailure: (_, error) => {
      throw error;
    },
  });
  const raw = new RawSockets({
    ...common,
    tables: () => readRawTables(process.pid),
    openTrace: () => {
      throw new Error("only the tables are measured");
    },
    watchReadable: () => () => undefined,
    onRawSocket: () => undefined,
  });
  const toMicroseconds = EVENTS / NAMESPACES / 1000;
  return {
    listeners: median(() => ports.scan()) * toMicroseconds,
    rawTables: median(() => raw.scan()) * toMicroseconds,
  };
}

function measureIncidents(): number {
  const detector = new IncidentDetector();
  let signs = 0;
  for (let event = 0; event < EVENTS; event++) {
    const name = `host${event % 300}.example.com`;
    const finding: Finding = {
      time: event * 100,
      container: `container-${event % 100}`,
      type: "dns",
      attackType: event % 7 === 0 ? "feedDNS" : "unexpectedDNS",
      effect: "alert",
      rule: "bench",
      message: `lookup of ${name} (A)`,
      count: 1,
      dns: { name, type: "A", answers: [], rcode: null },
      connection: null,
      reasons: [],
      revision: 1,
    };
    signs += detector.observe(finding, null, event * 100).length;
  }
  return signs;
}

/** Nanoseconds for one of EVENTS. */
function median(pass: () => unknown): number {
  const times = Array.from({ length: ROUNDS }, () => {
    const began = performance.now();
    pass();
    return ((performance.now() - began) * 1e6) / EVENTS;
  });
  return times.sort((a, b) => a - b)[ROUNDS >> 1] ?? 0;
}
