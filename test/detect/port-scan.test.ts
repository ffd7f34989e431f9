import fc from "fast-check";
import t from "tap";
import { FirstContacts } from "../../src/detect/first-contacts.ts";
import { mayProbe } from "../../src/detect/port-scan.ts";
import { OUTCOME } from "../../src/detect/walk.ts";
import { address, outcomeOf, randomFrom, TCP, Traffic, UDP } from "./port-scan-traffic.ts";

const { ANSWERED, REFUSED, SILENT, PREVENTED } = OUTCOME;

t.test("a vertical scan is found, and its message says what it was", async (t) => {
  const traffic = new Traffic();
  for (let port = 21; port < 21 + 40; port++) {
    const outcome = port === 22 || port === 25 ? ANSWERED : REFUSED;
    traffic.contact({ host: "198.51.100.9", port, outcome }, 100);
  }
  t.equal(traffic.detections.length, 1);
  t.match(traffic.detections[0], {
    type: "portScan",
    attackType: "verticalPortScan",
    message: /^scanned \d+ ports of 198\.51\.100\.9 in 3 s \(\d+ refused\); first 2\d, 2\d, 2\d$/,
    reasons: [{ kind: "detection", subject: "198.51.100.9" }],
  });
});

t.test("a horizontal scan is found by 26 failed probes", async (t) => {
  const traffic = new Traffic();
  while (traffic.detections.length === 0 && traffic.probes < 100) {
    traffic.contact({ host: traffic.probes, port: 445, outcome: traffic.probes % 2 ? SILENT : REFUSED });
  }
  t.equal(traffic.probes, 26);
  t.match(traffic.detections[0], {
    attackType: "horizontalPortScan",
    message:
      "scanned TCP port 445 of 26 hosts in 1 s (13 refused, 13 silent); first 198.18.0.0, 198.18.0.1, 198.18.0.2",
  });
});

for (const [name, contact, most] of [
  ["prevented", { port: 22, outcome: PREVENTED }, 26],
  ["refused", { port: 22, outcome: REFUSED }, 26],
  ["silent", { port: 22, outcome: SILENT }, 26],
  ["UDP", { port: 161, protocol: UDP, outcome: SILENT }, 48],
] as const) {
  t.test(`a slow ${name} scan, one probe every 15 s, is found`, async (t) => {
    const traffic = new Traffic();
    for (let host = 0; host < most; host++) traffic.contact({ host, ...contact }, 15_000);
    t.equal(traffic.detections[0]?.attackType, "horizontalPortScan");
    t.equal(traffic.probes, most);
    const ports = new Traffic();
    for (let port = 1; port <= most; port++) ports.contact({ ...contact, host: 1, port }, 15_000);
    t.equal(ports.detections[0]?.attackType, "verticalPortScan");
  });
}

t.test("IPv6 targets are scanned too", async (t) => {
  const traffic = new Traffic();
  for (let host = 0; host < 30; host++)
    traffic.contact({ host: `2001:db8::${host.toString(16)}`, port: 22, outcome: SILENT });
  t.match(traffic.detections, [{ message: /first 2001:db8::, 2001:db8::1, 2001:db8::2$/ }]);
});

t.test("a scan of random hosts and random ports is found", async (t) => {
  const random = randomFrom(1);
  const traffic = new Traffic();
  for (let index = 0; index < 60; index++) {
    const port = 1 + Math.floor(random() * 65_000);
    traffic.contact({ host: Math.floor(random() * 65_536), port, outcome: SILENT });
  }
  t.match(traffic.detections, [{ attackType: "horizontalPortScan", message: /changing hosts and ports/ }]);
});

t.test("a scan of three hundred ports of fifty hosts is a few findings", async (t) => {
  const traffic = new Traffic();
  for (let port = 1; port <= 300; port++) {
    for (let host = 0; host < 50; host++) traffic.contact({ host, port, outcome: REFUSED }, 1);
  }
  const kinds = new Set(traffic.detections.map(({ attackType }) => attackType));
  t.equal(kinds.size, 2);
  t.ok(traffic.detections.length < 12, `${traffic.detections.length}`);
});

t.test("a scan is told again when it has grown tenfold, and after a rest", async (t) => {
  const traffic = new Traffic({ targets: 65_536 });
  for (let host = 0; host < 26 * 100; host++) traffic.contact({ host, port: 22, outcome: REFUSED });
  t.strictSame(
    traffic.detections.map(({ message }) => /of (\d+) hosts/.exec(message)?.[1]),
    ["26", "260", "2600"],
  );
  for (let host = 0; host < 26; host++) traffic.contact({ host, port: 22, outcome: REFUSED });
  t.equal(traffic.detections.length, 3, "the same targets again");
  traffic.now += 3 * 3_600_000;
  for (let host = 0; host < 26; host++) traffic.contact({ host, port: 22, outcome: REFUSED });
  t.equal(traffic.detections.length, 4);
});

t.test("benign programs do not alarm", async (t) => {
  const cases: Record<string, (traffic: Traffic, random: () => number) => void> = {
    "a crawler whose every sixth host fails": (traffic, random) => {
      for (let host = 0; host < 50_000; host++)
        traffic.contact({ host, port: random() < 0.8 ? 443 : 80, outcome: outcomeOf(random, 1 / 6) });
    },
    "a crawler of names during an outage of a minute": (traffic, random) => {
      for (let host = 0; host < 2000; host++) {
        const failing = host > 1000 && host < 1060 ? 1 : 0.1;
        traffic.contact({ host, port: 443, outcome: outcomeOf(random, failing), named: true }, 1000);
      }
    },
    "a client of service discovery": (traffic, random) => {
      for (let call = 0; call < 20_000; call++) {
        const host = Math.floor(call / 50);
        traffic.contact({ host, port: 8000 + (call % 7), outcome: outcomeOf(random, 0.1) });
      }
    },
    "a load test of three backends, one of them down": (traffic) => {
      for (let call = 0; call < 50_000; call++)
        traffic.contact({ host: call % 3, port: 8080, outcome: call % 3 === 0 ? REFUSED : ANSWERED }, 1);
    },
    "a client whose only backend is down for a week": (traffic) => {
      for (let call = 0; call < 7 * 8640; call++)
        traffic.contact({ host: 1, port: 5432, outcome: SILENT }, 10_000);
    },
    "a client that asks thirty dead targets once in three days": (traffic) => {
      for (let call = 0; call < 20 * 10; call++)
        traffic.contact({ host: call % 20, port: 5432, outcome: SILENT }, 3_600_000);
    },
    "health checks of fifty hosts of which three are down": (traffic) => {
      for (let round = 0; round < 1000; round++) {
        for (let host = 0; host < 50; host++) {
          traffic.contact({ host, port: 9100, outcome: host % 20 === 5 ? REFUSED : ANSWERED }, 200);
        }
      }
    },
    "a client of a peer-to-peer network, six in ten peers gone": (traffic, random) => {
      for (let peer = 0; peer < 20_000; peer++) {
        const port = random() < 0.2 ? 6881 : 1024 + Math.floor(random() * 60_000);
        const protocol = random() < 0.5 ? TCP : UDP;
        const gone = random() < 0.6;
        traffic.contact({ host: peer, port, protocol, outcome: gone ? SILENT : ANSWERED }, 100);
      }
    },
    "traceroute to an address and to a name": (traffic) => {
      for (let hop = 0; hop < 90; hop++)
        traffic.contact({ host: 9, port: 33434 + hop, protocol: UDP, outcome: SILENT });
    },
    "statistics to ten collectors that never answer": (traffic) => {
      for (let call = 0; call < 10_000; call++)
        traffic.contact({ host: call % 10, port: 8125, protocol: UDP, outcome: SILENT });
    },
    "a web client where UDP to port 443 is swallowed": (traffic) => {
      for (let host = 0; host < 1000; host++) {
        traffic.contact({ host, port: 443, protocol: UDP, outcome: SILENT, named: true });
        traffic.contact({ host, port: 443, outcome: ANSWERED, named: true });
      }
    },
  };
  for (const [name, run] of Object.entries(cases)) {
    const traffic = new Traffic();
    run(traffic, randomFrom(7));
    t.strictSame(traffic.detections, [], name);
  }
});

t.test("a row that fails as often as benign traffic may does not alarm in a million contacts", async (t) => {
  const random = randomFrom(3);
  const traffic = new Traffic();
  for (let host = 0; host < 1_000_000; host++)
    traffic.contact({ host, port: 443, outcome: outcomeOf(random, 0.5) }, 1);
  t.strictSame(traffic.detections, []);
});

t.test("scanners of which a tenth of the targets answer are found, all of 200", async (t) => {
  const random = randomFrom(5);
  for (let run = 0; run < 200; run++) {
    const traffic = new Traffic();
    for (let host = 0; host < 400 && traffic.detections.length === 0; host++)
      traffic.contact({ host, port: 22, outcome: outcomeOf(random, 0.9) });
    if (traffic.detections.length !== 1) t.fail(`run ${run}`);
  }
});

t.test("a scan beside a crawler in one container is found", async (t) => {
  const random = randomFrom(11);
  const traffic = new Traffic();
  for (let index = 0; index < 40_000; index++) {
    traffic.contact({ host: index, port: 443, outcome: outcomeOf(random, 0.1) });
    if (index % 1000 === 0) traffic.contact({ host: 200_000, port: 1 + index / 1000, outcome: REFUSED });
  }
  t.match(traffic.detections, [{ attackType: "verticalPortScan" }]);
});

t.test("a thousand containers with a million targets stay within their memory", async (t) => {
  const traffic = new Traffic();
  for (let host = 0; host < 1_000_000; host++) {
    traffic.contact({ container: `c${host % 1000}`, host, port: 443, outcome: ANSWERED }, 0);
  }
  t.equal(traffic.probes, 1_000_000, "each was new");
  t.equal(traffic.detector.stats.containers, 1000);
  t.ok(traffic.detector.stats.bytes <= 1000 * 2 * 4 * 4096);
  for (let host = 0; host < 10_000; host++) {
    traffic.contact({ container: `c${host % 1000}`, host, port: 443, outcome: REFUSED }, 0);
  }
  t.ok(traffic.probes <= 1_000_010, `and is known, but for what full buckets displaced: ${traffic.probes}`);
  for (let host = 0; host < 1_000_000; host++)
    traffic.contact({ container: "c1", host, port: 443, outcome: ANSWERED }, 0);
  t.ok(traffic.detector.stats.bytes <= 1000 * 2 * 4 * 4096);
  traffic.detector.forget("c1");
  t.equal(traffic.detector.stats.containers, 999);
});

t.test("containers beyond the limit displace the oldest", async (t) => {
  const traffic = new Traffic({ containers: 3 });
  for (let index = 0; index < 10; index++)
    traffic.contact({ container: `c${index}`, host: 1, port: 1, outcome: REFUSED });
  t.equal(traffic.detector.stats.containers, 3);
});

t.test("first contacts agree with a set until the memory is full", async () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 0xffffffff }), { maxLength: 400 }), (hashes) => {
      const contacts = new FirstContacts(4096, 1000, 0);
      const known = new Set<number>();
      for (const hash of hashes) {
        // 0 marks an empty place, and shares one with 1.
        const key = hash === 0 ? 1 : hash;
        if (contacts.add(hash, 0) === known.has(key)) return false;
        known.add(key);
      }
      return true;
    }),
  );
});

t.test("a target is known for one to two periods after its last contact", async (t) => {
  const contacts = new FirstContacts(64, 1000, 0);
  t.equal(contacts.add(5, 0), true);
  t.equal(contacts.add(5, 900), false);
  t.equal(contacts.add(5, 1900), false);
  t.equal(contacts.add(5, 2900), false);
  t.equal(contacts.add(5, 6000), true);
});

t.test("what may be a probe", async (t) => {
  const host = address(1);
  const may = (protocol: number, flags: number, bytes = host): boolean =>
    mayProbe(protocol, flags, bytes, 0, bytes.length);
  t.ok(may(TCP, 0x02), "SYN");
  t.ok(may(TCP, 0x00), "null");
  t.ok(may(TCP, 0x29), "FIN, PSH, URG");
  t.ok(may(UDP, 0));
  t.notOk(may(TCP, 0x10), "ACK");
  t.notOk(may(TCP, 0x12), "SYN, ACK");
  t.notOk(may(TCP, 0x04), "RST");
  t.notOk(may(1, 0), "ICMP");
  t.notOk(may(UDP, 0, Uint8Array.of(224, 0, 0, 251)), "multicast");
  t.notOk(may(UDP, 0, Uint8Array.of(255, 255, 255, 255)), "broadcast");
  t.notOk(may(UDP, 0, Uint8Array.of(0xff, ...new Uint8Array(15))), "IPv6 multicast");
});
