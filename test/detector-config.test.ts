/** The keys below `detectors`: their defaults are the detectors' own, and what is set reaches the detector. */
import t from "tap";
import { ManualClock } from "../src/clock.ts";
import { loadConfig } from "../src/config.ts";
import { ContainerTable } from "../src/container/table.ts";
import type { Container } from "../src/container/types.ts";
import { EXFILTRATION_DEFAULTS } from "../src/detect/exfiltration-options.ts";
import { GENERATED_NAMES_DEFAULTS } from "../src/detect/generated-names-options.ts";
import { createPortScanDetector } from "../src/detect/port-scan.ts";
import { PORT_SCAN_DEFAULTS } from "../src/detect/port-scan-options.ts";
import { OUTCOME } from "../src/detect/walk.ts";
import {
  type DetectorsConfig,
  exfiltrationOptions,
  generatedNamesOptions,
  portScanOptions,
} from "../src/detector-config.ts";
import { bareAnswer } from "../src/dns/answer.ts";
import { TidesmanError } from "../src/errors.ts";
import { createLogger } from "../src/log.ts";
import { LookupWatch } from "../src/lookup-watch.ts";
import { nameToWire } from "../src/name.ts";
import { createFakeNative } from "../src/native/fake.ts";
import { compilePolicy } from "../src/policy/policy.ts";
import type { Finding } from "../src/policy/types.ts";
import { SocketWatch } from "../src/socket-watch.ts";

const read = (text: string | null): DetectorsConfig => loadConfig(text, "tidesman.yaml", "h1").detectors;
const standard = read(null);

function problems(text: string): string[] {
  try {
    read(text);
  } catch (error) {
    if (error instanceof TidesmanError && error.code === "TM_CONFIG") return error.message.split("\n");
    throw error;
  }
  return [];
}

t.test("without a file the detectors run with their own figures", async (t) => {
  t.match(PORT_SCAN_DEFAULTS, portScanOptions(standard.portScan));
  const { allowed, ...exfiltration } = exfiltrationOptions(standard.exfiltration);
  t.match(EXFILTRATION_DEFAULTS, exfiltration);
  t.ok(allowed?.includes("sophosxl.net"));
  t.match(GENERATED_NAMES_DEFAULTS, generatedNamesOptions(standard.generatedNames));
});

t.test("ranges, and names that anybody could register below", async (t) => {
  const wrong = `detectors:
  portScan: { falseAlarm: 0, missed: 0.5, tcpAnswered: 1, udpAnswered: 0, rest: 1s }
  exfiltration:
    burst: { window: 2d, size: 1B, names: 0 }
    drip: { window: 1m, size: 1GiB, names: 0 }
    hold: 1s
    allowed: [com, co.uk, github.io, "*.example.com", .example.com, in-addr.arpa, "a b"]
  generatedNames: { threshold: 1, failures: 1, halfLife: 1s, rest: 1s, allowed: [""] }
  sockets: { interval: 10ms, udpSettle: 2h, rawSource: trace }
`;
  const told = problems(wrong);
  t.equal(told.length, 5 + 3 + 3 + 1 + 7 + 5 + 3, told.join("\n"));
  t.match(told[12], /exfiltration\.allowed\[0\]: `com` is not allowed here; allowed: name that is no public/);
  t.strictSame(
    problems("detectors: { exfiltration: { allowed: [lan, cluster.local, a.b.example.com] } }"),
    [],
  );
});

t.test("port scans: fewer false alarms cost more probes, and rest is what ends a scan", async (t) => {
  const probes = (text: string, gap = 1000): number => {
    const detector = createPortScanDetector(
      portScanOptions(read(`detectors: { portScan: { ${text} } }`).portScan),
    );
    for (let port = 1; port <= 200; port++) {
      const target = {
        container: "c",
        protocol: 6,
        bytes: Uint8Array.of(203, 0, 113, 1),
        offset: 0,
        length: 4,
        port,
      };
      detector.isFirst(target, port * gap);
      const event = { ...target, outcome: OUTCOME.REFUSED, named: false };
      if (detector.observe(event, port * gap) !== undefined) return port;
    }
    return Number.POSITIVE_INFINITY;
  };
  const usual = probes("");
  t.ok(usual < 30, `${usual}`);
  t.ok(probes("falseAlarm: 0.000000000001") > usual);
  t.ok(probes("falseAlarm: 0.001") < usual);
  t.ok(probes("tcpAnswered: 0.2") > usual);
  t.ok(probes("tcpAnswered: 0.9") < usual);
  t.equal(probes("rest: 1m", 61_000), Number.POSITIVE_INFINITY);
  t.ok(probes("rest: 2m", 61_000) < 30);
});

function lookups(text: string): (name: string, type: number, rcode: number) => string {
  const policy = compilePolicy(
    { version: 1, rules: [{ name: "r", dns: { effect: "alert", suspicious: "prevent" } }] },
    { domain: () => [], address: () => [] },
    { revision: 1, host: "h" },
  );
  const container: Container = {
    id: "c1",
    name: "web",
    image: "nginx",
    imageDigest: "",
    namespace: null,
    labels: {},
    pid: 1,
    startedAt: 1,
    networkMode: "bridge",
    networkNamespace: "/proc/1/ns/net",
    state: "running",
    networks: [],
  };
  const resident = new ContainerTable().upsert(container);
  resident.profile = policy.profileFor(container, null);
  const findings: Finding[] = [];
  const watch = new LookupWatch({
    clock: new ManualClock(1_000_000),
    seed: 1,
    config: read(text),
    policy: () => policy,
    report: (finding) => findings.push(finding),
  });
  return (name, type, rcode) => {
    const lookup = { name: nameToWire(name)!, type };
    const asked = watch.watch("query", resident, lookup, null);
    const answer = bareAnswer(new Uint8Array(100), rcode);
    return asked === "clean" ? watch.watch("answer", resident, lookup, answer) : asked;
  };
}

/** Sixty letters and digits that look drawn, another each time, the same in every run. */
function data(index: number): string {
  let state = index * 2_654_435_761 + 1;
  return Array.from({ length: 60 }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return "abcdefghijklmnopqrstuvwxyz234567"[state >>> 27];
  }).join("");
}

t.test("lookups: what is allowed and how much is told", async (t) => {
  const firstDrop = (text: string, below: string): number => {
    const ask = lookups(text);
    return Array.from({ length: 300 }, (_, index) => ask(`${data(index)}.${below}`, 16, 0)).indexOf("drop");
  };
  const usual = firstDrop("detectors: {}", "example.net");
  t.ok(usual > 0);
  t.equal(firstDrop("detectors: {}", "i.01.mac.sophosxl.net"), -1, "a virus scanner's");
  t.equal(firstDrop("detectors: { exfiltration: { allowed: [example.net] } }", "t.example.net"), -1);
  t.ok(firstDrop("detectors: { exfiltration: { allowed: [] } }", "i.01.mac.sophosxl.net") > 0);
  t.ok(firstDrop("detectors: { exfiltration: { burst: { size: 32KiB } } }", "example.net") > usual * 2);

  const failing = (text: string): number => {
    const ask = lookups(text);
    return Array.from({ length: 100 }, (_, index) => ask(`${data(index).slice(0, 14)}.lan`, 1, 3)).indexOf(
      "drop",
    );
  };
  t.ok(failing("detectors: {}") > 6);
  t.ok(failing("detectors: { generatedNames: { threshold: 46, failures: 16 } }") > failing("detectors: {}"));
  t.equal(failing("detectors: { generatedNames: { allowed: [lan] } }"), -1);
});

t.test("sockets: no tracing where it is not wanted", async (t) => {
  const clock = new ManualClock(1_000_000);
  const watch = new SocketWatch({
    parts: () => {
      throw new Error("nothing is told here");
    },
    native: createFakeNative(clock),
    clock,
    log: createLogger({ level: "error", readable: false, colour: false, write: () => undefined }),
    config: read("detectors: { sockets: { rawSource: tables } }").sockets,
  });
  watch.start();
  t.match(watch.rawSource, { source: "tables", reason: /detectors\.sockets\.rawSource/ });
  watch.stop();
});
