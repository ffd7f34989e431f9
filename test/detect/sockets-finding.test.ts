import t from "tap";
import { listenerFinding, rawSocketFinding } from "../../src/detect/sockets/finding.ts";
import { describe } from "../../src/policy/describe.ts";
import { bytesOf, CONTAINER, listening, policyOf, rawSocket } from "../policy/fixtures.ts";
import { ONE, processOf } from "./sockets-world.ts";

const policy = policyOf("network: { effect: alert, listeningPorts: { denied: [4444] } }");
const profile = policy.profileFor(CONTAINER, null);

t.test("a listener as a finding", async (t) => {
  const find = (port: number, held: boolean): ReturnType<typeof listenerFinding> => {
    const event = listening(profile, `0.0.0.0:${port}/6`);
    const decision = policy.decide(event);
    const process = held ? processOf(11, "nc", ONE, 100) : null;
    const listener = {
      container: ONE,
      protocol: 6,
      port,
      address: bytesOf("0.0.0.0"),
      uid: 0,
      process,
      again: false,
    };
    return listenerFinding(listener, { decision, message: describe(decision, event), time: 5 });
  };
  t.equal(find(80, true), null);
  t.match(find(4444, false), { message: "listener on 0.0.0.0:4444/tcp uses a denied port (4444)" });
  t.match(find(4444, true), {
    time: 5,
    type: "listeningPort",
    attackType: "explicitlyDeniedListeningPort",
    effect: "alert",
    container: ONE,
    rule: "r",
    message: "listener on 0.0.0.0:4444/tcp uses a denied port (4444), held by nc (pid 11)",
    dns: null,
    connection: { protocol: "tcp", destination: "0.0.0.0", port: 4444 },
    revision: 7,
    count: 1,
  });
});

t.test("a raw socket as a finding", async (t) => {
  const event = rawSocket(profile);
  const decision = policy.decide(event);
  const found = { container: ONE, socket: "packet", protocol: 3, pid: 4711, command: "tcpdump" } as const;
  t.match(rawSocketFinding(found, { decision, message: describe(decision, event), time: 5 }), {
    type: "rawSocket",
    attackType: "rawSocket",
    container: ONE,
    message: "packet socket of tcpdump (pid 4711) can read and forge packets",
    connection: null,
  });
});
