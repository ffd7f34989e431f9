/** Run by engine.test.ts inside the network namespace of its dockerd. */
import { execFile, execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import t from "tap";
import { systemClock } from "../../src/clock.ts";
import type { Config } from "../../src/config.ts";
import { Blocker } from "../../src/container/block.ts";
import { DockerClient } from "../../src/container/docker.ts";
import type { EngineEvent } from "../../src/container/engine.ts";
import { type Evidence, EvidenceTaker } from "../../src/container/evidence.ts";
import { Registry } from "../../src/container/registry.ts";
import type { Container, RegistryChange } from "../../src/container/types.ts";
import { loadNative } from "../../src/native/native.ts";
import { normalizeImage } from "../../src/policy/rules.ts";
import type { EngineWorld } from "./engine-world.ts";
import { silent, until as untilWithin } from "./world.ts";

const engine = JSON.parse(process.env.TIDESMAN_TEST_ENGINE ?? "") as EngineWorld;
/** dockerd needs seconds for what it does in moments, when the machine is busy. */
const until = (condition: () => boolean, what: string): Promise<void> => untilWithin(condition, what, 40_000);
const native = loadNative();
const client = new DockerClient({ socket: engine.socket, clock: systemClock });
const changes: { at: number; change: RegistryChange }[] = [];
const present = new Map<string, Container>();
const cuts: [string, boolean][] = [];
let blocker: Blocker | null = null;

const docker = async (...parameters: readonly string[]): Promise<string> =>
  (await promisify(execFile)("docker", ["-H", `unix://${engine.socket}`, ...parameters])).stdout.trim();

/** What the registry should know of a container, asked of dockerd and of the kernel by their own tools. */
async function truth(
  name: string,
): Promise<{ pid: number; bridges: string[]; addresses: string[]; veths: number[] }> {
  const [told] = JSON.parse(await docker("inspect", name)) as [
    {
      State: { Pid: number };
      NetworkSettings: {
        Networks: Record<string, { IPAddress: string; GlobalIPv6Address: string; NetworkID: string }>;
      };
    },
  ];
  const pid = told.State.Pid;
  const networks = Object.entries(told.NetworkSettings.Networks);
  const inside = JSON.parse(
    execFileSync("nsenter", [`--net=/proc/${pid}/ns/net`, "ip", "-json", "address"], { encoding: "utf8" }),
  ) as { link_index?: number; addr_info: { local: string }[] }[];
  return {
    pid,
    bridges: networks
      .map(([key, { NetworkID }]) => (key === "bridge" ? "docker0" : `br-${NetworkID.slice(0, 12)}`))
      .sort(),
    addresses: inside
      .flatMap(({ link_index, addr_info }) => (link_index ? addr_info.map(({ local }) => local) : []))
      .sort(),
    veths: inside.flatMap(({ link_index }) => link_index ?? []).sort(),
  };
}

function seen(name: string): Awaited<ReturnType<typeof truth>> | null {
  const container = [...present.values()].find((each) => each.name === name);
  if (container === undefined) return null;
  return {
    pid: container.pid,
    bridges: container.networks.map(({ bridge }) => bridge).sort(),
    addresses: container.networks.flatMap(({ addresses }) => addresses).sort(),
    veths: container.networks.map(({ vethIndex }) => vethIndex).sort(),
  };
}

async function agrees(name: string, what: string): Promise<void> {
  const wanted = JSON.stringify(await truth(name));
  await until(() => JSON.stringify(seen(name)) === wanted, `${what}: ${wanted}`);
}

const registry = new Registry({
  docker: client,
  native,
  clock: systemClock,
  normalizeImage,
  onChange(change) {
    changes.push({ at: performance.now(), change });
    for (const id of change.remove) present.delete(id);
    for (const container of change.upsert) present.set(container.id, container);
    blocker?.observe(change);
  },
  onState() {},
  log: silent,
  isBlocked: (id) => blocker?.isBlocked(id) ?? false,
  namespaceDirectories: [engine.namespaceDirectory],
});
registry.start();
const file = join(engine.directory, "blocked.json");
const evidenceTaken: Evidence[] = [];
const taker = new EvidenceTaker({ native, clock: systemClock });
taker.start();
async function openBlocker(action: Config["block"]["action"]): Promise<Blocker> {
  const cut = (container: string, on: boolean): number => cuts.push([container, on]);
  const breaker = { containers: 100, within: 60_000, share: 100 };
  const evidence = {
    take: (container: Container) => taker.take(container),
    save: async (_container: Container, taken: Evidence) => evidenceTaken.push(taken),
  };
  const given = { docker: client, native, clock: systemClock, action, breaker, file, cut, evidence };
  return Blocker.open({ ...given, log: silent });
}
blocker = await openBlocker("stop");
await until(() => registry.state.connected, "connected");
t.teardown(async () => {
  await blocker?.stop();
  await taker.stop();
  await registry.stop();
  await client.close();
});

await t.test("start, network connect and disconnect, pause, rename, restart, stop", async (t) => {
  await docker("run", "-d", "--name", "web", "tidesman-test", "sleep", "1000");
  await agrees("web", "started");
  const [first] = changes.filter(({ change }) => change.upsert.length > 0);
  t.equal(first?.change.upsert[0]?.state, "created", "known before it ran");
  t.match(registry.find("web"), { image: "docker.io/library/tidesman-test:latest", imageDigest: /^sha256:/ });
  const network = [
    "network",
    "create",
    "--ipv6",
    "--subnet",
    "172.31.251.0/24",
    "--subnet",
    "2001:db8:251::/64",
    "side",
  ];
  await docker(...network);
  await until(() => registry.networks().some(({ name }) => name === "side"), "the new network is guarded");
  await docker("network", "connect", "side", "web");
  await agrees("web", "connected");
  t.equal(seen("web")?.bridges.length, 2);
  changes.length = 0;
  await docker("network", "disconnect", "side", "web");
  await agrees("web", "disconnected");
  t.ok(changes.some(({ change }) => change.gone.includes("172.31.251.2")));
  await docker("pause", "web");
  await until(() => registry.find("web")?.state === "paused", "paused");
  await docker("unpause", "web");
  await docker("rename", "web", "shop");
  await until(() => registry.find("shop")?.state === "running", "renamed");
  changes.length = 0;
  await docker("restart", "-t", "0", "shop");
  await agrees("shop", "restarted");
  t.ok(changes.some(({ change }) => change.gone.includes("172.31.250.2")));
  await docker("rm", "-f", "shop");
  await until(() => registry.list().length === 0 && present.size === 0, "removed");
});

await t.test("namespaces of others, and none", async (t) => {
  await docker("run", "-d", "--name", "owner", "tidesman-test", "sleep", "1000");
  await docker(
    "run",
    "-d",
    "--name",
    "guest",
    "--network",
    "container:owner",
    "tidesman-test",
    "sleep",
    "1000",
  );
  await docker("run", "-d", "--name", "host", "--network", "host", "tidesman-test", "sleep", "1000");
  await docker("run", "-d", "--name", "none", "--network", "none", "tidesman-test", "sleep", "1000");
  await agrees("owner", "started");
  for (const name of ["guest", "host", "none"]) {
    await until(() => registry.find(name)?.state === "running", name);
    t.same(
      registry.find(name)?.networks.flatMap(({ addresses }) => addresses),
      [],
      `${name} has no address of its own`,
    );
  }
  t.equal(registry.find("host")?.networkNamespace, "");
  await docker("rm", "-f", "owner", "guest", "host", "none");
  await until(() => registry.list().length === 0, "removed");
});

await t.test("a held packet's veth is known when the container starts to send", async (t) => {
  for (let round = 0; round < 2; round++) {
    changes.length = 0;
    await docker("run", "-d", "--name", "early", "tidesman-test", "sleep", "1000");
    await agrees("early", "started");
    const veth = seen("early")?.veths[0] ?? 0;
    const known = changes.find(({ change }) =>
      change.upsert.some(({ networks }) => networks.some(({ vethIndex }) => vethIndex === veth)),
    );
    const running = changes.find(({ change }) => change.upsert.some(({ pid }) => pid !== 0));
    t.ok(known !== undefined && running !== undefined && known.at < running.at, "veth before start");
    t.comment(`veth known ${((running?.at ?? 0) - (known?.at ?? 0)).toFixed(1)} ms before the start was`);
    const told = changes.length;
    const asked = performance.now();
    registry.hint(veth, "172.31.250.2");
    await until(() => changes.length > told, "answered");
    t.comment(`a hint is answered in ${((changes.at(-1)?.at ?? 0) - asked).toFixed(1)} ms`);
    await docker("rm", "-f", "early");
    await until(() => registry.list().length === 0, "removed");
  }
});

/** A subscription that tells nothing until it is ended. */
async function* silence(signal: AbortSignal): AsyncGenerator<EngineEvent> {
  await new Promise((resolve) => signal.addEventListener("abort", resolve));
}

await t.test("a hint alone finds a container of which no event told", async (t) => {
  const found: { at: number; container: Container }[] = [];
  const deaf = new Registry({
    docker: {
      containers: (id) => client.containers(id),
      container: (id) => client.container(id),
      image: (id) => client.image(id),
      networks: () => client.networks(),
      network: (id) => client.network(id),
      events: async (_since, signal) => silence(signal),
    },
    native: { links: (path) => native.links(path), watchLinks: () => () => undefined },
    clock: systemClock,
    normalizeImage,
    onChange: ({ upsert }) =>
      found.push(...upsert.map((container) => ({ at: performance.now(), container }))),
    onState() {},
    log: silent,
    namespaceDirectories: [engine.namespaceDirectory],
  });
  deaf.start();
  await until(() => deaf.state.connected, "connected");
  await docker("run", "-d", "--name", "late", "tidesman-test", "sleep", "1000");
  await agrees("late", "started");
  const wanted = await truth("late");
  const asked = performance.now();
  deaf.hint(wanted.veths[0] ?? 0, "172.31.250.2");
  await until(() => found.length > 0, "found");
  t.comment(`found ${((found[0]?.at ?? 0) - asked).toFixed(1)} ms after the hint`);
  t.match(found[0]?.container, { name: "late", networks: [{ vethIndex: wanted.veths[0] }] });
  await until(() => found.at(-1)?.container.pid === wanted.pid, "and that it runs");
  await deaf.stop();
  await docker("rm", "-f", "late");
  await until(() => registry.list().length === 0, "removed");
});

const stubborn = "trap '' TERM; while true; do sleep 1; done";

await t.test("a first process that ignores SIGTERM, under --restart always", async (t) => {
  await docker("run", "-d", "--restart", "always", "--name", "bad", "tidesman-test", "sh", "-c", stubborn);
  await agrees("bad", "started");
  const container = registry.find("bad");
  if (container === undefined || blocker === null) throw new Error("unknown");
  const outcome = await blocker.block(container, "test");
  t.match(outcome, { result: "killed", failures: [] });
  t.comment(`stopped after ${outcome.took.toFixed(0)} ms${outcome.bySignal ? ", by signal" : ""}`);
  t.notOk(existsSync(`/proc/${container.pid}`), "its process is gone");
  t.match(JSON.parse(readFileSync(file, "utf8")), {
    containers: [{ name: "bad", restartPolicy: { name: "always" } }],
  });
  t.equal(
    await docker("inspect", "-f", "{{.HostConfig.RestartPolicy.Name}} {{.State.Running}}", "bad"),
    "no false",
  );
  await until(
    () => registry.find("bad")?.state === "blocked" && !present.has(container.id),
    "shown as blocked",
  );

  await docker("start", "bad");
  const lives = async (): Promise<boolean> =>
    (await docker("inspect", "-f", "{{.State.Running}}", "bad")) === "true";
  const end = performance.now() + 40_000;
  while ((await lives()) && performance.now() < end) await new Promise((resolve) => setTimeout(resolve, 20));
  t.notOk(await lives(), "started by somebody: stopped again");
  t.ok(cuts.some(([id, on]) => id === container.id && on));

  t.match(await blocker.unblock("bad"), { result: "running", error: null });
  await agrees("bad", "runs again");
  t.equal(await docker("inspect", "-f", "{{.HostConfig.RestartPolicy.Name}}", "bad"), "always");
});

await t.test("evidence: its processes and sockets as they were before it was killed", async (t) => {
  const served = "nc -l -p 4444 & while true; do sleep 1; done";
  await docker("run", "-d", "--name", "seen", "tidesman-test", "sh", "-c", served);
  await agrees("seen", "started");
  const container = registry.find("seen");
  if (container === undefined || blocker === null) throw new Error("unknown");
  const listens = (): boolean =>
    ["tcp", "tcp6"].some((table) =>
      readFileSync(`/proc/${container.pid}/net/${table}`, "utf8").includes(":115C"),
    );
  await until(listens, "it listens");
  const outcome = await blocker.block(container, "test");
  t.match(outcome, { result: "killed", failures: [] });
  const evidence = evidenceTaken.at(-1);
  t.comment(`evidence took ${evidence?.took} ms, of ${outcome.took.toFixed(0)} ms until it was killed`);
  t.equal(evidence?.complete, true);
  const [first] = evidence?.processes ?? [];
  t.match(first, { pid: container.pid, innerPid: 1, user: 0, name: "sh", executable: /busybox$/ });
  t.match(first?.commandLine, /^sh -c nc -l -p 4444/);
  t.ok(Math.abs(Date.parse(first?.startedAt ?? "") - container.startedAt) < 5_000);
  const server = evidence?.processes.find(({ commandLine }) => commandLine === "nc -l -p 4444");
  t.equal(server?.parent, container.pid);
  const socket = evidence?.sockets.find(({ local }) => local.endsWith(":4444"));
  t.match(socket, { protocol: "tcp", state: "listen", processes: [server?.pid] });
  const inside = evidence?.interfaces.flatMap(({ addresses }) => addresses.map((each) => each.split("/")[0]));
  t.ok(container.networks[0]?.addresses.every((address) => inside?.includes(address)));
  t.match(await blocker.unblock("seen"), { result: "running" });
  await docker("rm", "-f", "seen");
  await until(() => registry.list().every(({ name }) => name !== "seen"), "removed");
});

await t.test("paused and resumed", async (t) => {
  await blocker?.stop();
  blocker = await openBlocker("pause");
  const container = registry.find("bad");
  if (container === undefined) throw new Error("unknown");
  const outcome = await blocker.block(container, "test");
  t.match(outcome, { result: "paused", failures: [] });
  t.comment(`paused after ${outcome.took.toFixed(0)} ms`);
  t.equal(await docker("inspect", "-f", "{{.State.Paused}}", "bad"), "true");
  t.match(await blocker.unblock("bad"), { result: "running" });
  t.equal(await docker("inspect", "-f", "{{.State.Paused}}", "bad"), "false");
  await docker("rm", "-f", "bad");
  await until(() => registry.list().length === 0, "removed");
});

await t.test("isolated: nothing passes under any address, its processes run on", async (t) => {
  await blocker?.stop();
  blocker = await openBlocker("isolate");
  const options = ["--cap-add", "NET_ADMIN", "--name", "cut"];
  await docker("run", "-d", ...options, "tidesman-test", "sh", "-c", stubborn);
  await agrees("cut", "started");
  const ping = (...parameters: readonly string[]): Promise<boolean> =>
    docker("exec", "cut", "ping", "-c", "1", "-W", "1", ...parameters).then(
      () => true,
      () => false,
    );
  t.ok(await ping("172.31.250.1"), "before");
  const container = registry.find("cut");
  if (container === undefined) throw new Error("unknown");
  const outcome = await blocker.block(container, "test");
  t.match(outcome, { result: "isolated", failures: [] });
  t.comment(`isolated after ${outcome.took.toFixed(0)} ms`);
  t.equal(
    await docker("inspect", "-f", "{{.State.Status}} {{.State.Pid}}", "cut"),
    `running ${container.pid}`,
  );
  t.notOk(await ping("172.31.250.1"), "its own address");
  await docker("exec", "cut", "ip", "address", "add", "172.31.250.77/24", "dev", "eth0");
  t.notOk(await ping("-I", "172.31.250.77", "172.31.250.1"), "one that it gave itself");
  await docker("exec", "cut", "ip", "link", "set", "eth0", "down");
  await docker("exec", "cut", "ip", "link", "set", "eth0", "up");
  t.notOk(await ping("172.31.250.1"), "it cannot bring its link back");

  await blocker.stop();
  blocker = await openBlocker("isolate");
  t.notOk(await ping("172.31.250.1"), "after a restart of the daemon, and meanwhile");
  await docker("restart", "-t", "0", "cut");
  await agrees("cut", "restarted");
  const veth = seen("cut")?.veths[0];
  await until(() => native.links().find(({ index }) => index === veth)?.up === false, "cut again");
  t.notOk(await ping("172.31.250.1"), "after a restart of the container");

  t.match(await blocker.unblock("cut"), { result: "running", error: null });
  let passes = false;
  for (let attempt = 0; attempt < 20 && !passes; attempt++) passes = await ping("172.31.250.1");
  t.ok(passes, "given back");
  await docker("rm", "-f", "cut");
  await until(() => registry.list().length === 0, "removed");
});

await t.test("a dockerd that hangs is passed over with a signal", async (t) => {
  await blocker?.stop();
  blocker = await openBlocker("stop");
  await docker("run", "-d", "--name", "hung", "tidesman-test", "sh", "-c", stubborn);
  await agrees("hung", "started");
  const container = registry.find("hung");
  if (container === undefined) throw new Error("unknown");
  const dockerd = Number(readFileSync(join(engine.directory, "docker.pid"), "utf8"));
  process.kill(dockerd, "SIGSTOP");
  try {
    const outcome = await blocker.block(container, "test");
    t.match(outcome, { result: "killed", bySignal: true });
    await until(() => !existsSync(`/proc/${container.pid}/exe`), "its process is gone");
    t.comment(`stopped after ${outcome.took.toFixed(0)} ms, by signal`);
  } finally {
    process.kill(dockerd, "SIGCONT");
  }
  await docker("rm", "-f", "hung");
});
