import t from "tap";
import { Blocking } from "../src/blocking.ts";
import { ManualClock } from "../src/clock.ts";
import type { BlockOutcome } from "../src/container/block.ts";
import { Breaker, type BreakerLimits } from "../src/container/breaker.ts";
import type { Container } from "../src/container/types.ts";
import type { Finding } from "../src/policy/types.ts";
import type { ToDataThread } from "../src/thread.ts";

const START = 1_795_503_185_000;

/** A host with containers of one image (`r0`, `r1`, …), a breaker, and a blocker that only remembers. */
function host(limits: Partial<BreakerLimits>, replicas: number) {
  const clock = new ManualClock(START);
  const breaker = new Breaker({ containers: 100, within: 60_000, share: 100, ...limits }, []);
  const blocked = new Set<string>();
  const sent: string[] = [];
  const warned: string[] = [];
  let asked = 0;
  const containers = Array.from({ length: replicas }, (_, index): Container => {
    const id = `r${index}`;
    return {
      id,
      name: `web-${index}`,
      image: "docker.io/library/web:1",
      imageDigest: "sha256:web",
      namespace: null,
      labels: {},
      state: "running",
      pid: 100 + index,
      startedAt: START,
      networkNamespace: "",
      networks: [],
      networkMode: "bridge",
    };
  });
  const blocking = new Blocking({
    blocker: {
      isBlocked: (id) => blocked.has(id),
      refusal(id, ids) {
        asked++;
        const refusal = breaker.refusal(id, ids, (other) => blocked.has(other), clock.now());
        if (refusal === null) breaker.count(id, clock.now());
        return refusal;
      },
      async block({ id }) {
        blocked.add(id);
        return { container: id } as BlockOutcome;
      },
      resetBreaker: async () => breaker.reset(),
    },
    registry: { find: (id) => containers.find((one) => one.id === id), list: () => containers },
    data: {
      send(message: ToDataThread) {
        if (message.kind === "cut" || message.kind === "spare")
          sent.push(`${message.kind} ${message.container}`);
      },
    },
    clock,
    log: { warn: (_about: unknown, message?: string) => void warned.push(message ?? "") },
  });
  return { blocking, clock, blocked, sent, warned, containers, asked: () => asked };
}

function found(container: string, more: Partial<Finding> = {}): Finding {
  return {
    time: START,
    type: "dns",
    attackType: "explicitlyDeniedDNS",
    effect: "block",
    container,
    rule: "strict",
    message: "lookup of evil.example (A) is denied",
    dns: { name: "evil.example", type: "A", answers: [], rcode: null },
    connection: null,
    reasons: [{ kind: "denied", list: "dns.denied", entry: "evil.example" }],
    revision: 1,
    count: 1,
    ...more,
  };
}

t.test("a container that was cut off is stopped, and its finding told as it is", async (t) => {
  const { blocking, blocked, sent } = host({}, 1);
  const finding = found("r0");
  blocking.cutOff("r0", finding);
  t.ok(blocked.has("r0"));
  t.equal(blocking.told(finding), finding);
  t.strictSame(sent, ["cut r0"]);
  t.strictSame(blocking.spared(), []);
});

t.test("a finding beside the traffic cuts and stops by itself", async (t) => {
  const { blocking, blocked, sent } = host({}, 1);
  const finding = found("r0", { type: "rawSocket", attackType: "rawSocket", dns: null });
  t.equal(blocking.told(finding), finding);
  t.ok(blocked.has("r0"));
  t.strictSame(sent, ["cut r0"]);
  for (const effect of ["alert", "prevent"] as const) {
    const other = found("r0", { effect });
    t.equal(blocking.told(other), other);
  }
  const ofTheHost = { ...found("r0"), container: null };
  t.equal(blocking.told(ofTheHost), ofTheHost);
  const unknown = found("gone");
  t.equal(blocking.told(unknown), unknown, "nothing to be stopped");
});

t.test("beyond the limit a container is spared, and its finding is a prevention that says why", async (t) => {
  const { blocking, blocked, sent, warned, clock, asked } = host({ share: 50 }, 2);
  blocking.cutOff("r0", found("r0"));
  blocking.cutOff("r1", found("r1"));
  t.strictSame([...blocked], ["r0"]);
  t.strictSame(sent, ["cut r0", "spare r1"]);
  t.match(blocking.told(found("r1")), {
    effect: "prevent",
    attackType: "explicitlyDeniedDNS",
    reasons: [
      { kind: "denied" },
      { kind: "breaker", message: /^1 of the 2 containers of its image is stopped/ },
    ],
  });
  t.equal(blocking.told(found("r1", { type: "listeningPort" })).effect, "alert", "nothing of it is dropped");
  const before = asked();
  for (let index = 0; index < 1_000; index++) blocking.told(found("r1", { count: 2 }));
  t.equal(asked(), before, "a flood of findings asks once a second");
  t.equal(blocking.refused, 2_002);
  t.match(blocking.spared(), [{ id: "r1", name: "web-1", reason: /of its image/ }]);
  t.equal(warned.filter((message) => message.startsWith("not blocked")).length, 1);

  blocking.cutOff("r1", found("r1"));
  t.equal(sent.at(-1), "spare r1", "a new life of it is cut once more, and let go again");

  blocked.delete("r0");
  clock.advance(1_000);
  t.equal(blocking.told(found("r1")).effect, "block", "there is room: the next finding stops it");
  t.ok(blocked.has("r1"));
  t.equal(sent.at(-1), "cut r1");
  t.strictSame(blocking.spared(), []);
});

t.test("an operator's reset lets rules stop containers again", async (t) => {
  const { blocking, blocked } = host({ containers: 1 }, 3);
  for (const id of ["r0", "r1", "r2"]) blocking.told(found(id));
  t.strictSame([...blocked], ["r0"]);
  await blocking.reset();
  t.strictSame(blocking.spared(), []);
  t.equal(blocking.told(found("r1")).effect, "block");
  t.equal(blocking.told(found("r2")).effect, "prevent");
});

t.test("who is gone or quiet is no longer told as spared", async (t) => {
  const { blocking, clock, containers } = host({ containers: 1 }, 3);
  for (const id of ["r0", "r1", "r2"]) blocking.told(found(id));
  t.equal(blocking.spared().length, 2);
  containers.pop();
  t.strictSame(
    blocking.spared().map(({ id }) => id),
    ["r1"],
  );
  clock.advance(10 * 60_000);
  t.strictSame(blocking.spared(), []);
});
