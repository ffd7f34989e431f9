import t from "tap";
import { ARCHIVE_TIME, MAX_NAMES, MAX_PORTS, Model, modelKey } from "../../src/model/model.ts";
import type { ContainerFacts, Observation } from "../../src/policy/types.ts";

const HOUR = 3_600_000;
const KEY = "sha256:aa";

function name(text: string, time = 0): Observation {
  return { kind: "name", model: KEY, container: "c1", name: text, time };
}

function port(number: number, time = 0, protocol = 6): Observation {
  return { kind: "outboundPort", model: KEY, container: "c1", protocol, port: number, time };
}

t.test("the key: digest, and namespace where there is one", async (t) => {
  const facts: ContainerFacts = {
    id: "1",
    name: "n",
    image: "i",
    imageDigest: "sha256:aa",
    namespace: null,
    labels: {},
  };
  t.equal(modelKey(facts), "sha256:aa");
  t.equal(modelKey({ ...facts, namespace: "shop" }), "sha256:aa@shop");
  t.equal(modelKey({ ...facts, imageDigest: "" }), null);
});

t.test("it learns for the learning time of run time, then is active", async (t) => {
  const model = Model.begin(KEY, "nginx", 1000);
  t.match(model.snapshot(), { key: KEY, state: "learning", learning: true, names: [], outboundPorts: [] });
  t.equal(model.ran(HOUR - 1, HOUR, 2000), false);
  t.equal(model.ran(0, HOUR, 2000), false);
  t.equal(model.learning, true);
  t.equal(model.ran(1, HOUR, 3000), true);
  t.match(model.record, { state: "active", activeSince: 3000, changedAt: 3000, learnedTime: HOUR });
  t.equal(model.learning, false);
  t.equal(model.ran(HOUR, HOUR, 4000), false, "and stays it");
  t.equal(model.record.learnedTime, HOUR);
});

t.test("a manual model learns until told to stop", async (t) => {
  const model = new Model({ ...Model.begin(KEY, "nginx", 0).record, state: "manual", livelyState: "manual" });
  t.equal(model.ran(100 * HOUR, HOUR, 1), false);
  t.match(model.snapshot(), { state: "manual", learning: true });
  t.equal(model.observe(name("a.example")), "new");
});

t.test("archived when unused, revived as what it was, outlived after a day of watching", async (t) => {
  const model = Model.begin(KEY, "nginx:1", 0);
  t.equal(model.unused(10), true);
  t.equal(model.unused(11), false);
  t.match(model.record, { state: "archived", archivedAt: 10 });
  t.equal(model.learning, false);
  t.equal(model.inUse("nginx:2", 20), true);
  t.equal(model.inUse("nginx:2", 21), false);
  t.match(model.record, { state: "learning", archivedAt: null, image: "nginx:2" });
  model.ran(HOUR, HOUR, 30);
  model.unused(40);
  t.equal(model.isOutlived(40 + ARCHIVE_TIME - 1), false);
  t.equal(model.isOutlived(40 + ARCHIVE_TIME), true);
  model.watchAgain(100, 0);
  t.equal(model.isOutlived(40 + ARCHIVE_TIME), false);
  model.inUse("nginx:2", 200);
  t.equal(model.record.state, "active");
  t.equal(model.isOutlived(Number.MAX_SAFE_INTEGER), false);
});

t.test("entries: first and last seen, count, who taught them", async (t) => {
  const model = Model.begin(KEY, "nginx", 0);
  t.equal(model.observe(name("a.example", 5)), "new");
  t.equal(model.observe({ ...name("a.example", 9), container: "c2" }), "known");
  t.equal(model.observe(name("a.example", 7)), "known");
  t.equal(model.observe(port(443, 6)), "new");
  t.equal(model.observe(port(443, 6, 17)), "new");
  t.strictSame(
    [...model.names],
    [{ name: "a.example", firstSeen: 5, lastSeen: 9, count: 3, container: "c1" }],
  );
  t.strictSame(model.snapshot().outboundPorts, [
    { protocol: 6, port: 443 },
    { protocol: 17, port: 443 },
  ]);
});

t.test("an active model takes only what was observed before it became active", async (t) => {
  const model = Model.begin(KEY, "nginx", 0);
  model.ran(HOUR, HOUR, 1000);
  t.equal(model.observe(name("late.example", 999)), "new");
  t.equal(model.observe(name("new.example", 1000)), "refused");
  t.equal(model.observe(port(25, 2000)), "refused");
});

t.test("a container cannot teach a pattern", async (t) => {
  const model = Model.begin(KEY, "nginx", 0);
  model.observe(name("*.com"));
  t.strictSame(model.snapshot().names, ["\\042.com"]);
});

t.test("entries are bounded, and what comes past the bound is counted", async (t) => {
  const model = Model.begin(KEY, "nginx", 0);
  for (let number = 0; number < MAX_NAMES; number++) model.observe(name(`n${number}.example`));
  for (let number = 0; number < MAX_PORTS; number++) model.observe(port(number));
  t.equal(model.observe(name("one.more.example")), "full");
  t.equal(model.observe(port(60_000)), "full");
  t.equal(model.observe(name("n0.example", 7)), "known", "known ones are still counted");
  t.match(model, { nameCount: MAX_NAMES, portCount: MAX_PORTS });
  t.equal(model.record.dropped, 2);
});

t.test("changes are what was not saved", async (t) => {
  const model = Model.begin(KEY, "nginx", 0);
  t.match(model.changes, { record: { key: KEY }, names: [], ports: [] });
  model.saved();
  t.equal(model.changes, null);
  model.observe(name("a.example"));
  model.observe(port(443));
  t.match(model.changes, { names: [{ name: "a.example" }], ports: [{ port: 443 }] });
  model.saved();
  t.equal(model.changes, null);
  model.lost();
  t.match(model.changes, { names: [{ name: "a.example" }], ports: [{ port: 443 }] });
});
