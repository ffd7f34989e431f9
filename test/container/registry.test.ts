import { renameSync, writeFileSync } from "node:fs";
import t from "tap";
import { ManualClock } from "../../src/clock.ts";
import { agrees, listeningDocker, until, type World, world } from "./world.ts";

const connected = (it: World): Promise<void> => until(() => it.registry.state.connected, "connected");

t.test("what runs when we come is known, and the rest is listed", async (t) => {
  const docker = await listeningDocker();
  const mine = docker.addNetwork("mine", { ipv6: true });
  docker.addNetwork("flat", { driver: "macvlan" });
  const web = docker.create("web", {
    image: "nginx",
    labels: { tier: "front", "io.kubernetes.pod.namespace": "shop" },
    networks: ["bridge", "mine"],
  });
  docker.start(web.id);
  const host = docker.create("host", { networkMode: "host" });
  docker.start(host.id);
  const shared = docker.create("shared", { networkMode: `container:${web.id}` });
  docker.start(shared.id);
  docker.create("idle");
  await using it = await world({ docker });
  await connected(it);

  const known = it.registry.find("web");
  t.match(known, {
    id: web.id,
    image: "docker.io/library/nginx:latest",
    imageDigest: /^sha256:/,
    namespace: "shop",
    labels: { tier: "front" },
    state: "running",
    pid: web.pid,
    startedAt: web.startedAt,
    networkNamespace: web.sandbox,
  });
  t.same(
    known?.networks.map(({ name, addresses }) => [name, addresses.length]),
    [
      ["bridge", 2],
      ["mine", 3],
    ],
  );
  t.equal(it.registry.find(web.id.slice(0, 12))?.id, web.id);
  t.equal(it.registry.find(""), undefined);
  t.match(it.registry.find("shared"), { networkMode: `container:${web.id}`, networks: [], state: "running" });
  t.match(it.registry.find("host"), { networkMode: "host", networkNamespace: "" });
  t.match(it.registry.find("idle"), { state: "created", pid: 0, networks: [] });
  t.notOk(it.present.has(it.registry.find("idle")?.id ?? ""), "a listener is told of running ones only");
  t.same(
    it.registry.networks().map(({ name, bridge, subnets }) => [name, bridge, subnets.length]),
    [
      ["bridge", "docker0", 1],
      ["mine", mine.bridge, 2],
    ],
  );
  t.same(it.states, [{ connected: true, error: null }]);
});

t.test("a container is known before it runs, while inspect is held back", async (t) => {
  await using it = await world();
  await connected(it);
  const { docker, registry } = it;
  const web = docker.create("web");
  docker.join(web.id);
  await until(() => (it.present.get(web.id)?.networks[0]?.vethIndex ?? 0) !== 0, "its veth is known");
  const early = it.present.get(web.id);
  t.match(early, { state: "created", pid: 0, startedAt: 0, networkNamespace: web.sandbox, name: "web" });
  t.ok(early?.networks[0]?.addresses.includes("172.20.0.2"));
  t.notOk(
    docker.requests.some((request) => request.endsWith(`${web.id}/json`)),
    "nobody asked to inspect it",
  );
  docker.run(web.id);
  await until(() => agrees(it), "it runs");
  t.match(registry.find("web"), { state: "running", startedAt: web.startedAt });
  t.same(
    it.changes.flatMap(({ gone }) => gone),
    [],
  );
});

t.test("the whole life", async (t) => {
  await using it = await world();
  await connected(it);
  const { docker, registry } = it;
  const web = docker.create("web");
  docker.start(web.id);
  await until(() => agrees(it), "start");
  docker.pause(web.id);
  await until(() => agrees(it), "pause");
  docker.unpause(web.id);
  docker.rename(web.id, "shop");
  await until(() => agrees(it), "unpause, rename");
  t.equal(registry.find("web"), undefined);
  const mine = docker.addNetwork("mine", { ipv6: true });
  docker.connect(web.id, mine.id);
  await until(() => agrees(it), "network connect");
  it.changes.length = 0;
  docker.disconnect(web.id, mine.id);
  await until(() => agrees(it), "network disconnect");
  t.same(new Set(it.changes.flatMap(({ gone }) => gone)).has("172.20.3.2"), true);
  t.notOk(it.changes.flatMap(({ gone }) => gone).includes("172.20.0.2"));
  it.changes.length = 0;
  docker.restart(web.id);
  await until(() => agrees(it) && it.present.get(web.id)?.startedAt === web.startedAt, "restart");
  t.ok(
    it.changes.some(({ remove }) => remove.includes(web.id)),
    "the old life ended",
  );
  t.ok(it.changes.some(({ gone }) => gone.includes("172.20.0.2")));
  it.changes.length = 0;
  docker.remove(web.id);
  await until(() => it.registry.list().length === 0, "removed");
  t.ok(it.changes.some(({ gone }) => gone.includes("172.20.0.2")));
  t.equal(it.present.size, 0);
  docker.removeNetwork(mine.id);
  await until(() => registry.networks().length === 1, "the network is gone");
});

t.test("a reused address leaves its old owner before it has a new one", async (t) => {
  await using it = await world();
  await connected(it);
  const { docker } = it;
  const first = docker.create("first");
  docker.start(first.id);
  await until(() => agrees(it), "first");
  const second = docker.create("second");
  docker.die(first.id);
  docker.start(second.id);
  await until(() => agrees(it), "second");
  let owner: string | undefined = first.id;
  for (const { gone, remove, upsert } of it.changes) {
    if (gone.includes("172.20.0.2") || (owner !== undefined && remove.includes(owner))) owner = undefined;
    for (const container of upsert) {
      if (!container.networks.some(({ addresses }) => addresses.includes("172.20.0.2"))) continue;
      t.ok(owner === undefined || owner === container.id, "never two owners");
      owner = container.id;
    }
  }
  t.equal(owner, second.id);
});

t.test("an address whose end nobody told goes to its new owner all the same", async (t) => {
  await using it = await world();
  await connected(it);
  const { docker } = it;
  const lost = docker.create("lost");
  docker.start(lost.id);
  await until(() => agrees(it), "runs");
  docker.muted = true;
  docker.die(lost.id);
  docker.muted = false;
  it.changes.length = 0;
  const next = docker.create("next");
  docker.start(next.id);
  await until(() => it.present.get(next.id)?.state === "running", "the next runs");
  const first = it.changes.findIndex(({ upsert }) => upsert.some(({ id }) => id === next.id));
  t.ok(
    it.changes.slice(0, first + 1).some(({ gone }) => gone.includes("172.20.0.2")),
    "gone before it came",
  );
  t.notOk(it.present.get(lost.id)?.networks.some(({ addresses }) => addresses.includes("172.20.0.2")));
});

t.test("an answer that was overtaken by an event is not believed", async (t) => {
  await using it = await world();
  await connected(it);
  const { docker } = it;
  const brief = docker.create("brief");
  const held = Promise.withResolvers<void>();
  let asked = false;
  docker.late = async (question) => {
    if (!question.includes(`${brief.id}/json`) || asked) return;
    asked = true;
    await held.promise;
  };
  docker.start(brief.id);
  await until(() => asked, "an inspect was answered while it ran");
  docker.die(brief.id);
  const next = docker.create("next");
  docker.start(next.id);
  await until(() => it.present.get(next.id)?.state === "running", "the events have arrived");
  t.notOk(it.present.has(brief.id));
  held.resolve();
  // Its next question is asked only when the held answer was dealt with.
  docker.start(brief.id);
  await until(() => agrees(it), "it runs again");
  const pids = it.changes.flatMap(({ upsert }) =>
    upsert.filter(({ id }) => id === brief.id).map(({ pid }) => pid),
  );
  t.same(
    [...new Set(pids)].filter((pid) => pid !== 0),
    [brief.pid],
    "of its first life nothing was told",
  );
});

t.test("a hint finds out who sent a packet, also when no event told", async (t) => {
  const docker = await listeningDocker();
  const web = docker.create("web");
  await using it = await world({ docker });
  await connected(it);
  // The engine sends nothing, not even to a new subscriber: as when the packet is faster than the event.
  docker.muted = true;
  docker.join(web.id);
  const veth = web.endpoints.get(docker.network("bridge").id)?.hostIndex ?? 0;
  t.not(veth, 0);
  it.registry.hint(veth, "172.20.0.2");
  await until(() => it.present.get(web.id)?.networks[0]?.vethIndex === veth, "known by the hint");
  docker.run(web.id);
  const told = it.changes.length;
  it.registry.hint(veth, "10.9.9.9");
  await until(() => it.changes.length > told, "a known one is told again");
  it.registry.hint(4_000_000, "10.9.9.9");
  t.equal(it.present.size, 1, "no such interface: nothing happens");
});

t.test("a hint about a running container that was missed", async () => {
  const docker = await listeningDocker();
  await using it = await world({ docker });
  await connected(it);
  docker.muted = true;
  const web = docker.create("web");
  docker.start(web.id);
  const veth = web.endpoints.get(docker.network("bridge").id)?.hostIndex ?? 0;
  it.registry.hint(veth, "172.20.0.2");
  await until(() => agrees(it), "found");
});

t.test("fifty containers at once", async (t) => {
  await using it = await world();
  await connected(it);
  const { docker } = it;
  docker.requests.length = 0;
  const ids = Array.from({ length: 50 }, (_, index) => docker.create(`c${index}`).id);
  for (const id of ids) docker.join(id);
  await until(() => it.present.size === 50, "all known while starting");
  for (const id of ids) docker.run(id);
  await until(() => agrees(it), "all running");
  const inspects = docker.requests.filter((request) => /containers\/\w+\/json/.test(request)).length;
  t.ok(inspects <= 100, `no stampede: ${inspects} inspects`);
});

t.test("removed, restarted and new while we were away", async (t) => {
  await using it = await world();
  await connected(it);
  const { docker } = it;
  const [stays, dies, restarts] = ["stays", "dies", "restarts"].map((name) => docker.create(name));
  if (!stays || !dies || !restarts) throw new Error("unreachable");
  for (const { id } of [stays, dies, restarts]) docker.start(id);
  await until(() => agrees(it), "all run");
  await docker.close();
  await until(() => !it.registry.state.connected, "away");
  t.match(it.states.at(-1)?.error, /docker/);
  t.equal(it.present.size, 3, "what was known stays known");
  it.changes.length = 0;
  docker.remove(dies.id);
  docker.restart(restarts.id);
  const fresh = docker.create("fresh");
  docker.start(fresh.id);
  docker.forgetEvents();
  await docker.listen();
  await until(() => it.registry.state.connected && agrees(it), "all is as it is");
  const gone = it.changes.flatMap((change) => change.gone);
  t.ok(gone.includes("172.20.0.3") && gone.includes("172.20.0.4"), "also of the one that restarted");
  t.notOk(gone.includes("172.20.0.2"));
});

t.test("a broken event stream is taken up where it broke", async (t) => {
  await using it = await world();
  await connected(it);
  const { docker } = it;
  const web = docker.create("web");
  docker.start(web.id);
  await until(() => agrees(it), "runs");
  docker.breakEvents('{"Type":"contai');
  docker.restart(web.id);
  await until(() => docker.listeners === 1 && agrees(it), "back");
  t.ok(docker.requests.some((request) => request.includes("since=")));
  await until(() => it.registry.state.connected, "connected");
  t.notOk(it.states[1]?.connected);
});

t.test("errors are waited out", async (t) => {
  const docker = await listeningDocker();
  const web = docker.create("web");
  docker.start(web.id);
  docker.fail(/GET \/events/, 500, 2);
  docker.fail(/containers\/json/, 500, 1);
  docker.fail(/containers\/\w+\/json/, 500, 2);
  docker.fail(/images/, 500, 1);
  await using it = await world({ docker });
  await until(() => it.registry.state.connected && agrees(it), "known at last");
  t.match(it.states[0], { connected: false, error: /made to fail with 500/ });
  const other = docker.create("other", { image: "gone" });
  docker.images.delete("gone");
  docker.start(other.id);
  await until(() => it.present.has(other.id), "an image that was deleted is no obstacle");
});

t.test("no engine at all: it is waited for", async (t) => {
  const docker = await listeningDocker();
  await docker.close();
  await using it = await world({ docker });
  await until(() => it.states.length > 0, "told");
  t.match(it.states[0], { connected: false, error: /missing; start docker/ });
  await docker.listen();
  await connected(it);
});

t.test("addresses that a container gives itself", async (t) => {
  await using it = await world();
  await connected(it);
  const { docker } = it;
  const victim = docker.create("victim");
  const thief = docker.create("thief");
  docker.start(victim.id);
  docker.start(thief.id);
  await until(() => agrees(it), "both run");
  const bridge = docker.network("bridge").id;
  const inside = docker.native
    .links(thief.sandbox)
    .map((link) =>
      link.name === "eth0"
        ? { ...link, addresses: [...link.addresses, "172.20.0.2/24", "2001:db8::99/64"] }
        : link,
    );
  docker.native.setLinks(inside, thief.sandbox);
  it.registry.hint(thief.endpoints.get(bridge)?.hostIndex ?? 0, "172.20.0.2");
  await until(
    () => it.present.get(thief.id)?.networks[0]?.addresses.includes("2001:db8::99") ?? false,
    "read anew",
  );
  t.notOk(
    it.present.get(thief.id)?.networks[0]?.addresses.includes("172.20.0.2"),
    "an IPv4 address is the engine's to give",
  );
  t.ok(it.present.get(victim.id)?.networks[0]?.addresses.includes("172.20.0.2"));
});

t.test("a namespace path that leads to another namespace by now is not believed", async (t) => {
  await using it = await world();
  await connected(it);
  const { docker } = it;
  const web = docker.create("web");
  docker.start(web.id);
  await until(() => agrees(it), "runs");
  const veth = it.present.get(web.id)?.networks[0]?.vethIndex ?? 0;
  // Another file under the same name: another inode.
  writeFileSync(`${web.sandbox}.new`, "");
  renameSync(`${web.sandbox}.new`, web.sandbox);
  docker.native.setLinks([], web.sandbox);
  it.registry.hint(veth, "172.20.0.2");
  t.equal(it.registry.find("web")?.networks[0]?.vethIndex, veth);
});

t.test("blocked is a state, and touch tells it", async () => {
  const blocked = new Set<string>();
  await using it = await world({ isBlocked: (id) => blocked.has(id) });
  await connected(it);
  const { docker } = it;
  const web = docker.create("web");
  docker.start(web.id);
  await until(() => agrees(it), "runs");
  blocked.add(web.id);
  it.registry.touch(web.id);
  await until(() => it.present.get(web.id)?.state === "blocked", "told");
  const told = it.changes.length;
  docker.pause(web.id);
  await until(
    () => it.changes.length > told,
    "a pause of a blocked container is told, though its state is one",
  );
});

t.test("what no event told is found by comparing", async () => {
  const clock = new ManualClock(1_000_000);
  await using it = await world({ clock });
  await connected(it);
  const { docker } = it;
  docker.muted = true;
  const web = docker.create("web");
  docker.start(web.id);
  clock.advance(60_000);
  await until(() => agrees(it), "found");
  docker.die(web.id);
  clock.advance(60_000);
  await until(() => agrees(it), "and missed");
});
