import { join } from "node:path";
import fc from "fast-check";
import t from "tap";
import { IncidentDetector } from "../../src/audit/incident-detector.ts";
import type { IncidentSummary } from "../../src/audit/incident-record.ts";
import { IncidentLog } from "../../src/audit/incidents.ts";
import { ManualClock } from "../../src/clock.ts";
import type { AttackType, Finding } from "../../src/policy/types.ts";
import { lookup, START, web } from "./finding.ts";

const MINUTE = 60_000;
const DAY = 86_400_000;
const LIMITS = { closeAfter: 7 * DAY, closeGoneAfter: 3 * DAY, limit: 500, retention: { age: 90 * DAY } };

function found(attackType: AttackType, time: number, message = attackType as string): Finding {
  return lookup(`${attackType.toLowerCase()}.example`, time, { attackType, message, reasons: [] });
}

/** Kinds of the incidents that each finding takes part in, the clock being that of the findings. */
function kinds(findings: readonly Finding[]): string[][] {
  const detector = new IncidentDetector();
  return findings.map((finding) => detector.observe(finding, null, finding.time).map(({ kind }) => kind));
}

const beats = (intervals: readonly number[]): Finding[] => {
  let time = START;
  return [0, ...intervals].map((interval) => {
    time += interval;
    return lookup("c2.example", time);
  });
};

t.test("a port scan is an incident at once", async (t) => {
  t.strictSame(kinds([found("horizontalPortScan", START)]), [["portScan"]]);
  t.strictSame(kinds([found("verticalPortScan", START)]), [["portScan"]]);
});

t.test("data in lookups is an incident at once, suspicious lookups when they repeat", async (t) => {
  const said = "40 KiB in 900 unique names under `t.example` in 60 s, like data sent over DNS";
  t.strictSame(kinds([found("suspiciousDNS", START, said)]), [["dataExfiltration"]]);
  const often = [0, 1, 2, 3, 4].map((minute) => found("suspiciousDNS", START + minute * MINUTE));
  t.strictSame(kinds(often).map(String), ["", "", "", "", "dataExfiltration"]);
  const seldom = [0, 3, 6, 9, 12].map((minute) => found("suspiciousDNS", START + minute * MINUTE));
  t.strictSame(kinds(seldom).flat(), []);
});

t.test("generated names are no exfiltration, and a name does not decide what it is taken for", async (t) => {
  const generated = "90 of 95 domains do not exist, like names that malware generates";
  const many = [0, 1, 2, 3, 4, 5].map((second) => found("suspiciousDNS", START + second, generated));
  t.strictSame(kinds(many).flat(), []);
  t.strictSame(kinds([found("suspiciousDNS", START, "odd lookup of `tunnel.example`")]).flat(), []);
  const said = "names under `names that malware generates.example`, like data sent over DNS";
  t.strictSame(kinds([found("suspiciousDNS", START, said)]).flat(), ["dataExfiltration"]);
});

t.test("a regular beat of five contacts is command and control", async (t) => {
  const told = kinds(beats([60_000, 61_000, 59_500, 60_200]));
  t.strictSame(told.map(String), ["", "", "", "", "commandAndControl"]);
  t.strictSame(kinds(beats([60_000, 60_000, 60_000])).flat(), [], "four are too few");
  t.strictSame(kinds(beats([60_000, 5_000_000, 300_000, 20_000, 900_000])).flat(), [], "no regularity");
  t.strictSame(kinds(beats([5_000, 5_000, 5_000, 5_000, 5_000, 5_000])).flat(), [], "a resolver asks again");
});

t.test("any steady beat with little variation is found", async () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 10_000, max: 3_600_000 }),
      fc.array(fc.double({ min: -0.15, max: 0.15, noNaN: true }), { minLength: 4, maxLength: 12 }),
      (interval, variations) =>
        kinds(beats(variations.map((part) => Math.round(interval * (1 + part)))))
          .flat()
          .includes("commandAndControl"),
    ),
  );
});

t.test("three kinds of attack, one of them serious, are a compromised container", async (t) => {
  const mild: AttackType[] = ["unexpectedOutboundPort", "unresolvedDestination", "encryptedDNS"];
  t.strictSame(kinds(mild.map((type) => found(type, START))).flat(), []);
  const serious = [...mild.slice(0, 2), "rawSocket" as const].map((type) => found(type, START));
  t.strictSame(kinds(serious).map(String), ["", "", "compromisedContainer"]);
  const slow = serious.map((finding, index) => ({ ...finding, time: START + index * 6 * MINUTE }));
  t.strictSame(kinds(slow).flat(), [], "not within ten minutes");
  const apart = serious.map((finding, index) => ({ ...finding, container: `c${index}` }));
  t.strictSame(kinds(apart).flat(), [], "not of one container");
});

t.test("a block is an incident; containers that the breaker spares are one, of the host", async (t) => {
  const stopped = { ...found("feedDNS", START), effect: "block" as const };
  t.strictSame(kinds([stopped]), [["blockedContainer"]]);
  const reason = {
    kind: "breaker",
    message: "1 of the 2 containers of its image is stopped by rules",
  } as const;
  const spared = { ...found("feedDNS", START), effect: "prevent" as const, reasons: [reason] };
  t.strictSame(kinds([spared]), [["circuitBreaker"]]);

  const log = new IncidentLog({
    file: join(t.testdir(), "incidents.db"),
    host: "h1",
    clock: new ManualClock(START),
    limits: LIMITS,
    containers: () => null,
    onNotice: (message) => t.fail(message),
  });
  const other = { ...web, id: "c2", name: "web-2" };
  log.observe(spared, "A1", web);
  log.observe({ ...spared, container: other.id }, "A2", other);
  const [incident] = log.list(false);
  t.equal(log.stats().open.circuitBreaker, 1);
  t.match(incident, { container: web, count: 2, summary: /^containers are not stopped: 1 of the 2/ });
  const { timeline, audits } = log.show(incident!.id);
  t.match(
    timeline.map(({ message }) => message),
    [new RegExp(`^${web.name}: `), /^web-2: /],
  );
  t.strictSame(audits, ["A1", "A2"]);
  log.stop();
});

t.test("findings about the guard lead to nothing; what is remembered is bounded", async (t) => {
  const detector = new IncidentDetector();
  for (let index = 0; index < 1_200; index++) {
    detector.observe({ ...found("rawSocket", START), container: `c${index}` }, null, START);
  }
  t.equal(detector.size, 1_000);
  t.strictSame(detector.observe(found("staleFeed", START), null, START), []);
});

t.test("the life of an incident", async (t) => {
  const clock = new ManualClock(START);
  const file = join(t.testdir(), "incidents.db");
  const notices: string[] = [];
  const onNotice = (message: string): void => void notices.push(message);
  const options = { file, host: "h1", clock, limits: LIMITS, containers: () => null, onNotice };
  let log = new IncidentLog(options);
  const told: [IncidentSummary, boolean][] = [];
  log.subscribe((incident, isNew) => void told.push([incident, isNew]));
  const scan = (audit: string): void =>
    log.observe(found("horizontalPortScan", clock.now(), `scan ${audit}`), audit, web);

  log.saw([{ kind: "name", model: "m", container: web.id, name: "before.example", time: START }]);
  log.observe(found("encryptedDNS", START), "A0", web);
  scan("A1");
  t.equal(told.length, 1);
  t.match(told[0], [{ kind: "portScan", state: "open", count: 1 }, true]);
  const id = told[0]![0].id;
  clock.advance(1_000);
  scan("A2");
  scan("A2");
  t.equal(told.length, 1, "further evidence is told together");
  clock.advance(5_000);
  t.match(told[1], [{ id, count: 3 }, false]);
  const shown = log.show(id.slice(0, 20).toLowerCase());
  t.strictSame(shown.audits, ["A1", "A2"]);
  t.equal(shown.timeline.length, 3);
  t.equal(shown.recorder[0]?.message, "looked up before.example");
  t.strictSame(
    shown.recorder.map(({ audit }) => audit),
    [null, "A0", "A1", "A2", "A2"],
  );
  t.match(log.stats(), {
    open: { portScan: 1, dataExfiltration: 0 },
    acknowledged: 0,
    opened: { portScan: 1 },
  });

  log.acknowledge(id, "seen");
  t.match(log.stats(), { open: { portScan: 1 }, acknowledged: 1 });
  log.stop();
  log = new IncidentLog(options);
  t.match(log.list(false), [{ id, state: "acknowledged", note: "seen", count: 3 }], "it survives a restart");
  log.close(id, "a test of ours");
  t.strictSame(log.list(false), []);
  t.match(log.list(true), [{ id, state: "closed", note: "a test of ours" }]);
  t.throws(() => log.close(id, "again"), { code: "TM_USAGE" });
  t.throws(() => log.show("ZZ"), { code: "TM_NOT_FOUND" });

  clock.advance(23 * 3_600_000);
  scan("A3");
  t.match(log.list(false), [{ id, state: "open", reopened: 1, count: 4 }], "it comes again within a day");
  log.close(id, "once more");
  clock.advance(25 * 3_600_000);
  scan("A4");
  t.equal(log.list(false).length, 1);
  t.not(log.list(false)[0]?.id, id, "later it is another");
  t.strictSame(
    log.list(true).map((one) => one.id),
    [log.list(false)[0]?.id, id],
    "the latest first",
  );
  t.match(log.stats(), { open: { portScan: 1 }, opened: { portScan: 2 }, error: null });
  log.stop();
  t.strictSame(notices, []);
});

t.test("lists of an incident are bounded; its beginning and its end stay", async (t) => {
  const clock = new ManualClock(START);
  const log = new IncidentLog({
    file: join(t.testdir(), "incidents.db"),
    host: "h1",
    clock,
    limits: LIMITS,
    containers: () => null,
    onNotice: t.fail,
  });
  for (let index = 0; index < 600; index++) {
    log.observe(found("verticalPortScan", START + index, `scan ${index}`), `A${index}`, web);
  }
  const incident = log.show(log.list(false)[0]!.id);
  t.equal(incident.count, 600);
  t.equal(incident.audits.length + incident.omitted.audits, 600);
  t.equal(incident.timeline.length + incident.omitted.timeline, 600);
  t.equal(incident.timeline.length, 200);
  t.equal(incident.timeline[0]?.message, "scan 0");
  t.equal(incident.timeline.at(-1)?.message, "scan 599");
  t.ok(incident.recorder.length <= 300);
  log.stop();
});
