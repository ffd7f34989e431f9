import { readFileSync } from "node:fs";
import fc from "fast-check";
import t from "tap";
import { configKeys, PAGE, withCurrentKeys } from "../scripts/config-docs.ts";
import { loadConfig } from "../src/config.ts";
import { TidesmanError } from "../src/errors.ts";

const FILE = "/etc/tidesman/tidesman.yaml";

/** Lines of the error that `text` gives, without the file. */
function problems(text: string): readonly string[] {
  try {
    loadConfig(text, FILE, "h1");
  } catch (error) {
    if (!(error instanceof TidesmanError) || error.code !== "TM_CONFIG") throw error;
    return error.message.split("\n").map((line) => line.replace(`${FILE}:`, ""));
  }
  return [];
}

t.test("without a file the defaults hold", async (t) => {
  const config = loadConfig(null, FILE, "h1");
  t.match(config, {
    host: "h1",
    failMode: "open",
    dns: {
      port: 5303,
      redirect: true,
      upstreams: [],
      preventResponse: "drop",
      sinkhole: { ipv4: "0.0.0.0", ipv6: "::" },
      deadline: 4000,
      retryAfter: 700,
      cache: { size: 64 * 1024 * 1024, minTTL: 0, maxTTL: 86400, maxNegativeTTL: 900, serveStale: 0 },
      udpSize: 1232,
      rate: 5000,
      maxInFlight: 8192,
      tcp: { connectionsPerContainer: 32, idleTimeout: 10_000 },
    },
    network: {
      queue: 5303,
      queueLength: 8192,
      markMask: 0x30000,
      interfaces: ["docker0", "br-+"],
      connectionRate: 500,
      connectionBurst: 1000,
      holdTime: 500,
      holdLimit: 1024,
      internal: [],
    },
    docker: { socket: "/var/run/docker.sock" },
    block: { action: "stop", breaker: { containers: 10, within: 600_000, share: 50 } },
    models: { learningTime: 3_600_000, trialTime: 86_400_000 },
    audits: {
      window: 60_000,
      fold: { after: 5, within: 900_000, summaries: 600_000 },
      queue: 16384,
      retention: { age: 30 * 86_400_000, size: 512 * 1024 * 1024 },
    },
    incidents: {
      closeAfter: 7 * 86_400_000,
      closeGoneAfter: 3 * 86_400_000,
      limit: 500,
      retention: { age: 90 * 86_400_000 },
    },
    detectors: {
      portScan: { falseAlarm: 1e-7, missed: 0.01, tcpAnswered: 0.5, udpAnswered: 0.3, rest: 1_800_000 },
      sockets: { interval: 10_000, udpSettle: 30_000, rawSource: "auto" },
    },
    console: { address: "127.0.0.1", port: 8053 },
    control: { group: "tidesman" },
    log: { level: "info" },
  });
  t.same(loadConfig("# nothing set\n", FILE, "h1"), config, "a file of comments says the same");
  t.equal(loadConfig(null, FILE, "a host name that is odd").host, "a host name that is odd");
});

t.test("what is loaded is frozen, all the way down", async (t) => {
  const config = loadConfig("dns: { upstreams: [192.0.2.1] }", FILE, "h1");
  t.ok(
    Object.isFrozen(config) &&
      Object.isFrozen(config.audits.retention) &&
      Object.isFrozen(config.dns.upstreams),
  );
  t.not(loadConfig(null, FILE, "h1").dns, loadConfig(null, FILE, "h1").dns, "and not shared");
});

t.test("values are read", async (t) => {
  const text = `
host: edge-1.example
dns:
  upstreams: [192.0.2.1, "192.0.2.1:5353", "[2001:db8::1]:53", "2001:db8::1", "[fe80::1%eth0]:53"]
  cache: { maxTTL: 15m, minTTL: 5 }
network: { markMask: "0xC0000000", interfaces: [], internal: [198.51.100.0/24] }
models: { learningTime: 1h30m }
audits: { retention: { size: 1.5GiB } }
`;
  const config = loadConfig(text, FILE, "h1");
  t.equal(config.host, "edge-1.example");
  t.equal(config.dns.upstreams.length, 5);
  t.equal(config.dns.cache.maxTTL, 900);
  t.equal(config.network.markMask, 0xc0000000);
  t.same(config.network.interfaces, []);
  t.equal(config.models.learningTime, 5_400_000);
  t.equal(config.audits.retention.size, 1.5 * 1024 ** 3);
});

t.test("all mistakes are told at once, each with its place", async (t) => {
  const text = `failMode: opn
dns:
  port: 70000
  deadline: 5
  redirekt: true
  upstreams: [dns.example, 192.0.2.1]
  cache:
    minTTL: 100000
network:
  markMask: 0x50000
  interfaces: [lo, +, "a; rm", br-+]
  connectionRate: 1.5
console: { port: 5303 }
models:
log: debug
`;
  t.same(
    problems(text).map((line) => line.split(": ").slice(0, 2).join(" ")),
    [
      "1:11 failMode",
      "3:9 dns.port",
      "4:13 dns.deadline",
      "5:3 dns.redirekt",
      "6:15 dns.upstreams[0]",
      "8:13 dns.cache.minTTL",
      "10:13 network.markMask",
      "11:16 network.interfaces[0]",
      "11:20 network.interfaces[1]",
      "11:23 network.interfaces[2]",
      "12:19 network.connectionRate",
      "14:8 models",
      "15:6 log",
    ],
  );
  t.match(problems(text)[0], "(did you mean `open`?); allowed: open, closed");
  t.match(problems(text)[3], "(did you mean `redirect`?); allowed: port, redirect");
});

t.test("keys that contradict each other", async (t) => {
  t.match(problems("dns: { deadline: 1s, retryAfter: 2s }"), [/^1:34: dns.retryAfter: is not below/]);
  t.match(problems("dns: { cache: { minTTL: 20, maxTTL: 10 } }"), [/^1:25: dns.cache.minTTL: is above/]);
  t.match(problems("console: { port: 5303 }"), [/^1:18: console.port: is also `dns.port`/]);
});

t.test("the path of a socket fits into an address of one", async (t) => {
  const socket = (length: number): string => `docker: { socket: /${"s".repeat(length - 1)} }`;
  t.strictSame(problems(socket(107)), []);
  t.match(problems(socket(108)), [/^1:19: docker.socket: .*allowed: absolute path of 107 bytes at most/]);
});

t.test("a mark mask is two adjacent bits", async (t) => {
  for (let bit = 0; bit < 31; bit++) {
    const mask = 3 * 2 ** bit;
    t.equal(loadConfig(`network: { markMask: ${mask} }`, FILE, "h").network.markMask, mask);
  }
  for (const mask of ["0", "1", "5", "7", "-3", "0x180000000", "1.5", '"0x3z"', '"3"', "[3]", "true"]) {
    t.equal(problems(`network: { markMask: ${mask} }`).length, 1, mask);
  }
});

t.test("other kinds of files", async (t) => {
  t.match(problems("- a\n"), [/^1:1: .* is a list; a mapping with the keys host, failMode/]);
  t.match(problems("dns: [\n"), [/^2:1: /]);
  t.match(problems("dns: {}\ndns: {}\n"), [/^2:1: the key `dns` stands here twice/]);
});

t.test("any text is loaded or refused", async () => {
  fc.assert(
    fc.property(
      fc.string({
        unit: fc.constantFrom(..."dns: {}[]&*!-\n\t'\"#|>?@`%a1", "network", "port"),
        maxLength: 60,
      }),
      (text) => {
        problems(text);
        return true;
      },
    ),
    { numRuns: 300 },
  );
});

t.test("the page of keys is current, and every key is described", async (t) => {
  const page = readFileSync(PAGE, "utf8");
  t.equal(withCurrentKeys(page), page, "run node scripts/config-docs.ts");
  for (const key of configKeys()) t.not(key.description, "", key.key);
  for (const [, block = ""] of page.matchAll(/^```yaml\n(.*?)^```/gms)) t.ok(loadConfig(block, FILE, "h1"));
});
