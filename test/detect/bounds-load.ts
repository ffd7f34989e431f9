/**
 * A process for bounds.test.ts: puts a thousand containers and a million different events through one part and prints
 * what it counts and how many bytes it holds after a collection, as JSON. Arguments: the part. Needs --expose-gc.
 */

import { IncidentDetector } from "../../src/audit/incident-detector.ts";
import { ManualClock } from "../../src/clock.ts";
import { createExfiltrationDetector } from "../../src/detect/exfiltration.ts";
import { FirstContacts } from "../../src/detect/first-contacts.ts";
import { createGeneratedNamesDetector } from "../../src/detect/generated-names.ts";
import { createPortScanDetector } from "../../src/detect/port-scan.ts";
import type { Detector, LookupEvent } from "../../src/detect/types.ts";
import { OUTCOME } from "../../src/detect/walk.ts";
import { ModelStore } from "../../src/model/store.ts";
import type { Finding, Observation } from "../../src/policy/types.ts";

const CONTAINERS = 1000;
const EVENTS = 1_000_000;
/** Milliseconds between two events: all of them take half an hour. */
const STEP = 2;
const containers = Array.from({ length: CONTAINERS }, (_, index) => `container-${index}`);

export interface Held {
  /** Heap and array buffers that are held more than before. */
  readonly bytes: number;
  readonly counts: Readonly<Record<string, number>>;
}

/** The container of an event: any, so that none of what is counted has to do with it. */
const containerOf = (index: number): string => containers[(Math.imul(index, 0x9e3779b1) >>> 8) % CONTAINERS]!;

/** Six letters for a number, different for all below 26^6. */
function letters(bytes: Uint8Array, at: number, number: number): void {
  for (let index = 0, rest = number * 101 + 7; index < 6; index++, rest = Math.floor(rest / 26))
    bytes[at + index] = 97 + (rest % 26);
}

const wire = Uint8Array.from([
  12,
  ...new Array<number>(12).fill(113),
  8,
  ...new Array<number>(8).fill(119),
  3,
  99,
  111,
  109,
  0,
]);
/** A name in `wire`; half of them lie below twenty domains, each of the others below one of its own. */
function rename(number: number): Uint8Array {
  letters(wire, 1, number);
  letters(wire, 14, number % 2 === 0 ? (number >> 1) % 20 : number);
  return wire;
}

function name(number: number): string {
  const site = number % 2 === 0 ? `site${(number >> 1) % 20}` : `own${number.toString(36)}`;
  return `q${number.toString(36)}zkvj.${site}.com`;
}

function lookups(detector: Detector<LookupEvent>, rcode: number): void {
  const event: LookupEvent = {
    container: "",
    phase: "query",
    bytes: wire,
    offset: 0,
    type: 16,
    rcode: 0,
    size: 0,
  };
  for (let index = 0; index < EVENTS; index++) {
    rename(index);
    event.container = containerOf(index);
    event.phase = "query";
    event.rcode = event.size = 0;
    detector.observe(event, index * STEP);
    event.phase = "answer";
    event.rcode = rcode;
    event.size = 400;
    detector.observe(event, index * STEP);
  }
}

/** Each puts its load through, and gives what it counts; what it holds stays alive as long as that function does. */
const PARTS: Readonly<Record<string, () => () => Readonly<Record<string, number>>>> = {
  exfiltration: () => {
    const detector = createExfiltrationDetector({ seed: 1 });
    lookups(detector, 0);
    return () => detector.stats;
  },
  generatedNames: () => {
    const detector = createGeneratedNamesDetector({ seed: 1 });
    lookups(detector, 3);
    return () => detector.stats;
  },
  portScan: () => {
    const detector = createPortScanDetector({ seed: 1 });
    const bytes = new Uint8Array(4);
    const view = new DataView(bytes.buffer);
    // Each fills the walks of its container, of which there are 256 of a kind.
    for (let index = 0; index < CONTAINERS * 400; index++) {
      view.setUint32(0, 0x0b00_0000 + index);
      const target = {
        container: containerOf(index),
        protocol: index % 3 === 0 ? 17 : 6,
        bytes,
      };
      const probe = { ...target, offset: 0, length: 4, port: 1 + (index % 60_000) };
      if (!detector.isFirst(probe, index * STEP)) continue;
      const outcome = index % 5 === 0 ? OUTCOME.ANSWERED : OUTCOME.SILENT;
      detector.observe({ ...probe, outcome, named: false }, index * STEP);
    }
    return () => detector.stats;
  },
  firstContacts: () => {
    const contacts = containers.map(() => new FirstContacts(4096, 3_600_000, 0));
    for (let index = 0; index < EVENTS * 5; index++)
      contacts[index % CONTAINERS]!.add(Math.imul(index, 0x9e3779b1) >>> 0, index);
    return () => ({ bytes: contacts.reduce((sum, one) => sum + one.bytes, 0) });
  },
  incidents: () => {
    const detector = new IncidentDetector();
    const attacks = ["feedDNS", "unexpectedDNS", "suspiciousDNS"] as const;
    for (let index = 0; index < EVENTS; index++) {
      const asked = name(index);
      const finding: Finding = {
        time: index * STEP,
        type: "dns",
        attackType: attacks[index % attacks.length]!,
        effect: "alert",
        container: containerOf(index),
        rule: "r",
        message: `lookup of ${asked}`,
        dns: { name: asked, type: "A", answers: [], rcode: null },
        connection: null,
        reasons: [],
        revision: 1,
        count: 1,
      };
      detector.observe(finding, String(index), index * STEP);
    }
    return () => ({ containers: detector.size });
  },
  models: () => {
    const clock = new ManualClock(1_000_000);
    const store = new ModelStore({
      file: ":memory:",
      clock,
      learningTime: 3_600_000,
      onChange: () => undefined,
      onNotice: (message) => process.stderr.write(`${message}\n`),
    });
    // Fifty images, twenty containers of each.
    const digest = (index: number): string => `sha256:${String(index % 50).padStart(8, "0")}`;
    store.running(
      containers.map((id, index) => ({
        ...{ id, name: id, image: `image${index % 50}:1`, imageDigest: digest(index) },
        ...{ namespace: null, labels: {} },
      })),
    );
    for (let index = 0; index < EVENTS; index += 1000) {
      const seen = containers.map((container, offset): Observation => {
        const model = digest(offset);
        return { kind: "name", model, container, name: name(index + offset), time: index * STEP };
      });
      store.observe(seen);
    }
    return () => ({
      models: store.list().length,
      names: store.list().reduce((most, one) => Math.max(most, one.names), 0),
      dropped: store.list().reduce((sum, one) => sum + one.dropped, 0),
    });
  },
};

/** Array buffers that are let go are given back by a thread of the engine, some time after a collection. */
async function held(): Promise<number> {
  for (let round = 0; round < 4; round++) {
    globalThis.gc?.();
    await new Promise((resolve) => setImmediate(resolve));
  }
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

const part = PARTS[process.argv[2] ?? ""];
if (part === undefined) throw new Error(`no such part: ${process.argv[2]}`);
const before = await held();
const counts = part();
const answer: Held = { bytes: (await held()) - before, counts: counts() };
process.stdout.write(JSON.stringify(answer));
process.exit();
