/** What policy says of listening ports and of raw sockets. */
import t from "tap";
import { describe, isLoopback } from "../../src/policy/describe.ts";
import { parsePolicy } from "../../src/policy/parse.ts";
import type { Decision, ModelView } from "../../src/policy/types.ts";
import { bytesOf, CONTAINER, listening, modelOf, policyOf, rawSocket } from "./fixtures.ts";

const ACTIVE = modelOf("active", [], [], ["8080/6"]);

function onPort(rule: string, target: string, model: ModelView | null = null): Decision {
  const policy = policyOf(rule);
  return policy.decide(listening(policy.profileFor(CONTAINER, model), target));
}

t.test("a denied port speaks before an allowed one, and both before the model", async (t) => {
  const rule = `network:
  effect: block
  listeningPorts: { allowed: ["1000-9000"], denied: [4444], deniedEffect: alert }`;
  t.match(onPort(rule, "0.0.0.0:4444/6", ACTIVE), {
    verdict: "allow",
    effect: "alert",
    attackType: "explicitlyDeniedListeningPort",
    rule: "r",
    reasons: [
      { kind: "denied", list: "network.listeningPorts.denied", entry: "4444", match: "port" },
      { kind: "allowed", list: "network.listeningPorts.allowed", entry: "1000-9000" },
      { kind: "model", match: "none", state: "active" },
    ],
    learn: false,
  });
  t.match(onPort(rule, "0.0.0.0:5000/6", ACTIVE), { effect: null, attackType: null, learn: false });
  t.match(onPort(rule, "0.0.0.0:9999/6", ACTIVE), {
    verdict: "drop",
    effect: "block",
    attackType: "unexpectedListeningPort",
    reasons: [{ kind: "model", match: "none", state: "active" }],
  });
  t.match(onPort(rule, "0.0.0.0:9999/6"), { effect: null }, "without a model nothing is unexpected");
});

t.test("the model learns, and knows the protocol", async (t) => {
  const rule = "network: { effect: alert, listeningPorts: { denied: [23] } }";
  const learning = modelOf("learning");
  t.match(onPort(rule, ":::8080/6", learning), { effect: null, learn: true });
  t.match(onPort(rule, "0.0.0.0:23/6", learning), {
    attackType: "explicitlyDeniedListeningPort",
    learn: false,
  });
  t.match(onPort(rule, "0.0.0.0:8080/6", ACTIVE), {
    effect: null,
    reasons: [{ kind: "model", entry: "8080", match: "port" }],
    learn: false,
  });
  t.match(onPort(rule, "0.0.0.0:8080/17", ACTIVE), {
    effect: "alert",
    attackType: "unexpectedListeningPort",
  });
});

t.test("a listener cannot be prevented: it is told", async (t) => {
  const rule = "network: { effect: prevent, listeningPorts: { denied: [23] } }";
  for (const target of ["0.0.0.0:23/6", "0.0.0.0:9999/6"]) {
    t.match(onPort(rule, target, ACTIVE), { verdict: "allow", effect: "alert" });
  }
});

t.test("a disabled section is silent but for a denied list with an effect of its own", async (t) => {
  const silent = "network: { effect: disable, listeningPorts: { denied: [23] } }";
  t.match(onPort(silent, "0.0.0.0:23/6", ACTIVE), { effect: null, reasons: [], learn: false });
  t.match(onPort("dns: { effect: alert }", "0.0.0.0:23/6", modelOf("learning")), { learn: false });
  const own = "network: { effect: disable, listeningPorts: { denied: [23], deniedEffect: block } }";
  t.match(onPort(own, "0.0.0.0:23/6", ACTIVE), { effect: "block" });
  t.match(onPort(own, "0.0.0.0:24/6", ACTIVE), { effect: null, learn: false });
  const muted = "network: { effect: alert, listeningPorts: { denied: [8080], deniedEffect: disable } }";
  t.match(onPort(muted, "0.0.0.0:8080/6", ACTIVE), { effect: null });
});

t.test("a raw socket is told wherever connections are judged, unless the rule says otherwise", async (t) => {
  const effectOf = (rule: string): Decision => {
    const policy = policyOf(rule);
    return policy.decide(rawSocket(policy.profileFor(CONTAINER, null)));
  };
  for (const effect of ["alert", "prevent", "block"]) {
    t.match(effectOf(`network: { effect: ${effect} }`), {
      verdict: "allow",
      effect: "alert",
      attackType: "rawSocket",
      reasons: [{ kind: "detection", list: "network.rawSockets", subject: "tcpdump" }],
    });
  }
  t.match(effectOf("network: {}"), { effect: "alert" });
  t.match(effectOf("network: { effect: disable }"), { effect: null, attackType: null });
  t.match(effectOf("dns: { effect: alert }"), { effect: null });
  t.match(effectOf("network: { effect: disable, rawSockets: block }"), { verdict: "drop", effect: "block" });
  t.match(effectOf("network: { effect: block, rawSockets: disable }"), { effect: null });
  t.match(effectOf("network: { rawSockets: prevent }"), { verdict: "allow", effect: "alert" });
});

t.test("an error of ours is told and drops nothing", async (t) => {
  const policy = policyOf("network: { effect: block }");
  const broken: ModelView = {
    ...ACTIVE,
    listeningPort: () => {
      throw new Error("a table is broken");
    },
  };
  t.match(policy.decide(listening(policy.profileFor(CONTAINER, broken), "0.0.0.0:1/6")), {
    verdict: "allow",
    effect: "alert",
    attackType: "explicitlyDeniedListeningPort",
    reasons: [{ kind: "error", message: "a table is broken" }],
  });
});

t.test("in words", async (t) => {
  const policy = policyOf(
    "network: { effect: alert, rawSockets: alert, listeningPorts: { denied: [4444], allowed: [80] } }",
  );
  const profile = policy.profileFor(CONTAINER, ACTIVE);
  const say = (target: string): string => {
    const event = listening(profile, target);
    return describe(policy.decide(event), event);
  };
  t.equal(say("0.0.0.0:4444/6"), "listener on 0.0.0.0:4444/tcp uses a denied port (4444)");
  t.equal(say(":::53/17"), "listener on [::]:53/udp uses a port that is not in the model of its image");
  t.equal(
    say("127.0.0.1:9000/6"),
    "listener on 127.0.0.1:9000/tcp (loopback only) uses a port that is not in the model of its image",
  );
  t.equal(
    say("0.0.0.0:80/6"),
    "listener on 0.0.0.0:80/tcp is allowed by network.listeningPorts.allowed (80)",
  );
  t.equal(
    say("0.0.0.0:8080/6"),
    "listener on 0.0.0.0:8080/tcp uses a port that is in the model of its image (8080)",
  );
  const raw = rawSocket(profile);
  t.equal(
    describe(policy.decide(raw), raw),
    "packet socket of tcpdump (pid 4711) can read and forge packets",
  );
  const unknown = rawSocket(profile, { socket: "raw", pid: 0, command: "" });
  t.equal(describe(policy.decide(unknown), unknown), "raw socket can read and forge packets");
  const silent = policyOf("network: { rawSockets: disable }");
  const event = rawSocket(silent.profileFor(CONTAINER, null));
  t.match(describe(silent.decide(event), event), /is not judged: network.rawSockets is disable/);
});

t.test("loopback is told apart", async (t) => {
  for (const address of ["127.0.0.1", "127.9.9.9", "::1"]) t.ok(isLoopback(bytesOf(address)), address);
  for (const address of ["0.0.0.0", "::", "128.0.0.1", "::2", "fe80::1"])
    t.notOk(isLoopback(bytesOf(address)), address);
  const mapped = new Uint8Array(16).fill(0xff, 10, 12);
  mapped[12] = 127;
  t.ok(isLoopback(mapped));
});

t.test("that `prevent` cannot prevent is remarked", async (t) => {
  const remarks = (network: string): string[] => {
    const { notices } = parsePolicy(`version: 1\nrules: [{ name: r, network: ${network} }]`, "policy.yaml");
    return notices.filter(({ message }) => /cannot prevent/.test(message)).map(({ field }) => field);
  };
  t.strictSame(remarks("{ effect: prevent }"), []);
  t.strictSame(remarks("{ rawSockets: prevent }"), ["rules[0].network.rawSockets"]);
  t.strictSame(remarks("{ effect: prevent, listeningPorts: { denied: [1] } }"), [
    "rules[0].network.listeningPorts",
  ]);
  t.strictSame(remarks("{ listeningPorts: { denied: [1], deniedEffect: prevent } }"), [
    "rules[0].network.listeningPorts.deniedEffect",
  ]);
  t.strictSame(remarks("{ effect: prevent, listeningPorts: { denied: [1], deniedEffect: block } }"), []);
});
