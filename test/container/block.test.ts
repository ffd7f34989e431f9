import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { ManualClock, systemClock } from "../../src/clock.ts";
import { Blocker, type BlockerOptions } from "../../src/container/block.ts";
import type { BlockedContainer } from "../../src/container/blocked.ts";
import type { Evidence } from "../../src/container/evidence.ts";
import type { HostProcesses } from "../../src/container/processes.ts";
import type { Container } from "../../src/container/types.ts";
import { TidesmanError } from "../../src/errors.ts";
import type { FakeContainer } from "./fake-docker.ts";
import { agrees, silent, until, type World, world } from "./world.ts";

interface Cell extends AsyncDisposable {
  readonly it: World;
  readonly blocker: Blocker;
  readonly file: string;
  readonly killed: number[];
  readonly cuts: [container: string, on: boolean][];
  readonly stored: () => BlockedContainer[];
  /** `take ID`, `save ID RESULT`, in order. */
  readonly evidence: string[];
  /** Another blocker on the same file: the daemon was started again. */
  readonly reopen: () => Promise<Blocker>;
}

const NO_EVIDENCE: Evidence = {
  time: "2026-11-24T02:33:39.497Z",
  took: 0,
  processes: [],
  sockets: [],
  interfaces: [],
  omitted: { processes: 0, sockets: 0 },
  complete: false,
};

/** A world with a blocker that sees every change, as the daemon wires it. */
async function cell(more: Partial<BlockerOptions> = {}): Promise<Cell> {
  const directory = mkdtempSync(join(tmpdir(), "tm-ctr-"));
  const file = join(directory, "blocked.json");
  const killed: number[] = [];
  const cuts: [string, boolean][] = [];
  const evidence: string[] = [];
  let blocker: Blocker | null = null;
  const it = await world({ isBlocked: (id) => blocker?.isBlocked(id) ?? false });
  const processes: HostProcesses = {
    belongs: (pid, id) => it.docker.containers.get(id)?.pid === pid,
    runs: (pid) => [...it.docker.containers.values()].some((each) => each.pid === pid),
    kill(pid) {
      killed.push(pid);
      const container = [...it.docker.containers.values()].find((each) => each.pid === pid);
      if (container !== undefined) it.docker.die(container.id);
    },
  };
  const open = (): Promise<Blocker> =>
    Blocker.open({
      docker: it.client,
      native: it.docker.native,
      processes,
      clock: systemClock,
      action: "stop",
      breaker: { containers: 100, within: 60_000, share: 100 },
      file,
      cut: (container, on) => cuts.push([container, on]),
      onChange: (id) => it.registry.touch(id),
      evidence: {
        async take({ id }) {
          evidence.push(`take ${id}`);
          return NO_EVIDENCE;
        },
        async save({ id }, _taken, { result }) {
          evidence.push(`save ${id} ${result}`);
        },
      },
      log: silent,
      ...more,
    });
  blocker = await open();
  const opened: Blocker[] = [blocker];
  it.onChange = (change) => blocker?.observe(change);
  await until(() => it.registry.state.connected, "connected");
  return {
    it,
    get blocker() {
      return opened.at(-1) as Blocker;
    },
    file,
    killed,
    cuts,
    evidence,
    stored: () => (JSON.parse(readFileSync(file, "utf8")) as { containers: BlockedContainer[] }).containers,
    async reopen() {
      await blocker?.stop();
      blocker = await open();
      opened.push(blocker);
      return blocker;
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(opened.map((each) => each.stop()));
      await it[Symbol.asyncDispose]();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** A running container with open connections, as the registry knows it. */
async function runs({ it }: Cell, policy = "no"): Promise<{ fake: FakeContainer; container: Container }> {
  const fake = it.docker.create("web");
  fake.restartPolicy = { Name: policy, MaximumRetryCount: 0 };
  it.docker.start(fake.id);
  await until(() => agrees(it), "it runs");
  it.docker.native.connections.set(fake.sandbox, 3);
  it.docker.native.flows.push({ source: "172.20.0.2", destination: "203.0.113.1", mark: 0 });
  const container = it.present.get(fake.id);
  if (container === undefined) throw new Error("unknown");
  return { fake, container };
}

t.test("stopped in the right order, and for good", async (t) => {
  await using here = await cell();
  const { it, blocker } = here;
  const { fake, container } = await runs(here, "always");
  let atKill: { policy: string; stored: BlockedContainer[]; reset: boolean } | null = null;
  it.docker.onKill = ({ id, restartPolicy }) => {
    const reset = it.docker.native.calls.some(([call]) => call === "resetConnections");
    atKill = { policy: restartPolicy.Name, stored: here.stored(), reset };
    it.docker.die(id);
  };
  const [outcome, same] = await Promise.all([
    blocker.block(container, "lookup of evil.example"),
    blocker.block(container, "again"),
  ]);
  t.equal(same, outcome, "two calls, one action");
  t.match(outcome, {
    result: "killed",
    bySignal: false,
    connectionsReset: 3,
    conntrackDeleted: 1,
    failures: [],
  });
  t.match(atKill, {
    policy: "no",
    reset: true,
    stored: [
      {
        id: fake.id,
        name: "web",
        restartPolicy: { name: "always" },
        ran: true,
        reason: "lookup of evil.example",
      },
    ],
  });
  t.match(blocker.blocked(), [{ id: fake.id, addresses: container.networks[0]?.addresses }]);
  t.ok(blocker.isBlocked(fake.id));
  await until(
    () => it.registry.find("web")?.state === "blocked" && it.present.size === 0,
    "shown as blocked",
  );
  t.equal(here.killed.length, 0);

  await t.rejects(blocker.unblock("other"), { code: "TM_NOT_FOUND" });
  const undone = await blocker.unblock("web");
  t.match(undone, { result: "running", error: null, container: { id: fake.id } });
  t.equal(fake.restartPolicy.Name, "always");
  t.same(here.cuts.at(-1), [fake.id, false]);
  await until(() => agrees(it), "it runs again");
  t.equal(it.registry.find("web")?.state, "running");
  t.same(here.stored(), []);
  t.notOk(blocker.isBlocked(fake.id));
  await t.rejects(blocker.unblock("web"), { code: "TM_NOT_FOUND", exitStatus: 1 });
});

t.test("evidence is taken before it is changed, kept afterwards, and once for a block", async (t) => {
  await using here = await cell();
  const { it, blocker, evidence } = here;
  const { fake, container } = await runs(here);
  const { id } = fake;
  let atKill: string[] | undefined;
  it.docker.onKill = () => {
    atKill ??= [...evidence];
    it.docker.die(id);
  };
  await blocker.block(container, "test");
  t.strictSame(atKill, [`take ${id}`]);
  t.strictSame(evidence, [`take ${id}`, `save ${id} killed`]);
  it.docker.start(id);
  await until(() => fake.pid === 0 && it.present.size === 0, "stopped again");
  t.equal(evidence.length, 2);
  await blocker.unblock("web");
  await until(() => agrees(it), "it runs");
  await blocker.block(it.present.get(id) ?? container, "once more");
  t.equal(evidence.length, 4);
});

t.test("connections are reset only when their evidence is taken; a disk that fails is told", async (t) => {
  const taken = Promise.withResolvers<Evidence>();
  const evidence = {
    take: () => taken.promise,
    save: () => Promise.reject(new TidesmanError("TM_STORE", "no room")),
  };
  await using here = await cell({ evidence });
  const { it, blocker } = here;
  const { fake, container } = await runs(here, "always");
  const outcome = blocker.block(container, "test");
  await until(() => fake.restartPolicy.Name === "no", "the steps before it");
  t.notOk(it.docker.native.calls.some(([call]) => call === "resetConnections"));
  taken.resolve(NO_EVIDENCE);
  t.match(await outcome, { result: "killed", failures: [/^evidence: no room/] });
});

t.test("whoever starts it again sees it cut and stopped again", async (t) => {
  await using here = await cell();
  const { it, blocker } = here;
  const { fake, container } = await runs(here);
  await blocker.block(container, "test");
  for (let round = 0; round < 3; round++) {
    here.cuts.length = 0;
    it.docker.start(fake.id);
    await until(() => fake.pid === 0, "stopped again");
    await until(() => it.present.size === 0, "and known to be");
    t.same(here.cuts[0], [fake.id, true]);
  }
  const again = await here.reopen();
  t.ok(again.isBlocked(fake.id), "also after a restart of the daemon");
  it.docker.start(fake.id);
  await until(() => fake.pid === 0, "stopped again");
  t.equal((await again.unblock(fake.id.slice(0, 12))).result, "running");
  await until(() => agrees(it), "it runs");
  t.not(fake.pid, 0);
});

t.test("pause", async (t) => {
  await using here = await cell({ action: "pause" });
  const { it, blocker } = here;
  const { fake, container } = await runs(here, "always");
  t.match(await blocker.block(container, "test"), { result: "paused", connectionsReset: 3, failures: [] });
  t.equal(fake.status, "paused");
  it.docker.unpause(fake.id);
  await until(() => fake.status === "paused", "paused again");
  t.match(await blocker.unblock("web"), { result: "running" });
  t.equal(fake.status, "running");
  t.equal(fake.restartPolicy.Name, "always");
  await until(() => agrees(it), "known");

  it.docker.fail(/\/pause/, 500);
  it.docker.native.connections.set(fake.sandbox, 0);
  const now = it.present.get(fake.id);
  if (now === undefined) throw new Error("unknown");
  t.match(
    await blocker.block(now, "test"),
    { result: "killed", failures: [/pause: .*500/] },
    "a pause that fails: killed",
  );
});

t.test("isolated: it runs on without a network, also after restarts of it and of the daemon", async (t) => {
  await using here = await cell({ action: "isolate" });
  const { it } = here;
  const { fake, container } = await runs(here, "always");
  const isUp = (): boolean | undefined =>
    it.docker.native.links().find(({ index }) => index === it.present.get(fake.id)?.networks[0]?.vethIndex)
      ?.up;
  t.equal(isUp(), true);
  t.match(await here.blocker.block(container, "test"), {
    result: "isolated",
    connectionsReset: 3,
    conntrackDeleted: 1,
    failures: [],
  });
  t.equal(isUp(), false);
  t.equal(fake.status, "running");
  t.not(fake.pid, 0);
  t.equal(fake.restartPolicy.Name, "no", "an end of it would be lost to a restart");
  const acted = it.docker.native.calls.map(([call]) => call);
  t.ok(acted.indexOf("resetConnections") < acted.indexOf("setLink"), "peers learn of it");

  const resets = (): number => it.docker.native.calls.filter(([call]) => call === "resetConnections").length;
  const before = resets();
  it.registry.touch(fake.id);
  const again = await here.reopen();
  t.match(await again.block(container, "test"), { result: "isolated", connectionsReset: 0 });
  t.equal(resets(), before, "connections that it has within itself are left alone");

  const early = await here.reopen();
  await t.rejects(early.unblock("web"), { code: "TM_UNREACHABLE" }, "its veths are not known again yet");
  t.ok(early.isBlocked(fake.id));

  it.docker.restart(fake.id);
  it.docker.native.connections.set(fake.sandbox, 0);
  await until(() => it.present.get(fake.id)?.pid === fake.pid && isUp() === false, "its new veth is cut too");
  t.equal(fake.status, "running");

  t.match(await early.unblock("web"), { result: "running", error: null });
  t.equal(isUp(), true);
  t.equal(fake.restartPolicy.Name, "always");
});

t.test("what cannot be isolated is paused, and then killed", async (t) => {
  await using here = await cell({ action: "isolate" });
  const { it, blocker } = here;
  const host = it.docker.create("host", { networkMode: "host" });
  it.docker.start(host.id);
  await until(() => it.present.has(host.id), "known");
  const known = it.present.get(host.id);
  if (known === undefined) throw new Error("unknown");
  t.match(await blocker.block(known, "test"), {
    result: "paused",
    failures: [/isolate: it has no interface/],
  });
  t.equal(host.status, "paused");
  t.match(await blocker.unblock("host"), { result: "running" });
  it.docker.remove(host.id);
  await until(() => it.present.size === 0, "removed");

  const { fake, container } = await runs(here);
  it.docker.native.failNext("setLink", new TidesmanError("TM_NATIVE_SYSCALL", "not permitted"));
  it.docker.fail(/\/pause/, 500);
  t.match(await blocker.block(container, "test"), {
    result: "killed",
    failures: [/isolate: not permitted/, /pause: .*500/],
  });
  t.equal(fake.pid, 0);
});

t.test("veths that are not known yet: isolated when they are, paused when they stay away", async (t) => {
  // The registry is not asked to tell of it, which would mend what is tried here.
  await using here = await cell({ action: "isolate", onChange() {} });
  const { it, blocker } = here;
  const { fake, container } = await runs(here);
  const isUp = (): boolean | undefined =>
    it.docker.native.links().find(({ index }) => index === container.networks[0]?.vethIndex)?.up;
  const unlocated = {
    ...container,
    networks: container.networks.map((one) => ({ ...one, vethIndex: 0, veth: "" })),
  };
  t.match(await blocker.block(unlocated, "test"), { result: "failed", failures: [/not all of its veths/] });
  t.equal(fake.status, "running");
  blocker.observe({ upsert: [container], remove: [], gone: [] });
  await until(() => isUp() === false, "isolated");
  t.equal(fake.status, "running");
  await blocker.unblock("web");
  t.equal(isUp(), true);

  await blocker.block(unlocated, "test");
  await until(() => fake.status === "paused", "paused");
});

t.test("what the breaker counts outlives the daemon; a reset does too", async (t) => {
  await using here = await cell({ breaker: { containers: 1, within: 3_600_000, share: 100 } });
  const { container } = await runs(here);
  t.equal(here.blocker.refusal(container.id, [container.id]), null);
  await here.blocker.block(container, "test");
  t.equal(here.blocker.stoppedLately, 1);
  t.match(here.blocker.refusal("other", ["other"]), /^1 container was stopped by rules within 60 min/);
  await here.blocker.unblock("web");
  const again = await here.reopen();
  t.match(again.refusal("other", ["other"]), /^1 container was/, "although it is blocked no more");
  await again.resetBreaker();
  t.equal((await here.reopen()).refusal("other", ["other"]), null);
});

t.test("a list of an earlier version: its word for stopping, its blocks as stops", async (t) => {
  await using here = await cell({ breaker: { containers: 1, within: 3_600_000, share: 100 } });
  const { container } = await runs(here);
  await here.blocker.block(container, "test");
  const [stored] = here.stored();
  writeFileSync(here.file, JSON.stringify({ version: 1, containers: [{ ...stored, action: "kill" }] }));
  const again = await here.reopen();
  t.match(again.blocked(), [{ id: container.id, action: "stop" }]);
  t.not(again.refusal("other", ["other"]), null);
});

t.test("an engine that fails or lets us wait is passed over", async (t) => {
  await using here = await cell();
  const { it, blocker } = here;
  const { fake, container } = await runs(here);
  const { pid } = fake;
  it.docker.fail(/\/kill/, 500);
  t.match(await blocker.block(container, "test"), {
    result: "killed",
    bySignal: true,
    failures: [/kill: .*500/],
  });
  t.same(here.killed, [pid]);
  await blocker.unblock("web");
  await until(() => agrees(it), "it runs");

  const clock = new ManualClock();
  const slow = await cell({ clock });
  const other = await runs(slow, "always");
  const held = Promise.withResolvers<void>();
  slow.it.docker.delay(/\/kill/, () => held.promise);
  const began = performance.now();
  const outcome = await slow.blocker.block(other.container, "test");
  // The deadline of a call is the client's clock, which is the system's here.
  t.match(outcome, { result: "killed", bySignal: true, failures: [/kill: .*in time/] });
  t.ok(performance.now() - began < 10_000);
  t.equal(other.fake.restartPolicy.Name, "no");
  held.resolve();
  await slow[Symbol.asyncDispose]();
});

t.test("no questions answered: killed all the same, the policy is seen to later", async (t) => {
  await using here = await cell();
  const { it, blocker } = here;
  const { fake, container } = await runs(here, "always");
  it.docker.fail(/containers\/\w+\/json/, 500);
  t.match(await blocker.block(container, "test"), { result: "killed", failures: [/inspect/] });
  t.match(blocker.blocked(), [{ restartPolicy: null, ran: true }]);
  it.docker.start(fake.id);
  await until(() => fake.pid === 0 && fake.restartPolicy.Name === "no", "stopped again");
  await until(() => here.stored()[0]?.restartPolicy?.name === "always", "remembered");
  await blocker.unblock("web");
  t.equal(fake.restartPolicy.Name, "always");
});

t.test("gone, stopped, not to be reset", async (t) => {
  await using here = await cell();
  const { it, blocker } = here;
  const { fake, container } = await runs(here);
  it.docker.native.failNext("resetConnections", new TidesmanError("TM_NATIVE_SYSCALL", "no"));
  it.docker.native.failNext("conntrackDelete", new TidesmanError("TM_NATIVE_SYSCALL", "no"));
  t.match(await blocker.block(container, "test"), { result: "killed", failures: [/reset/, /conntrack/] });
  t.match(await blocker.block(container, "test"), { result: "stopped", connectionsReset: 0 });
  it.docker.remove(fake.id);
  t.match(await blocker.block(container, "test"), { result: "gone", failures: [] });
  t.match(blocker.blocked(), [{ goneAt: Number }]);
  t.match(await blocker.unblock("web"), { result: "gone", error: null });

  const host = it.docker.create("host", { networkMode: "host" });
  it.docker.start(host.id);
  await until(() => it.present.has(host.id), "known");
  const known = it.present.get(host.id);
  if (known === undefined) throw new Error("unknown");
  it.docker.native.calls.length = 0;
  t.match(await blocker.block({ ...known, networkNamespace: "/proc/1/ns/net" }, "test"), {
    result: "killed",
  });
  t.notOk(
    it.docker.native.calls.some(([call]) => call === "resetConnections"),
    "the host's connections are not its own",
  );
});

t.test("unblock while the engine is away changes nothing", async (t) => {
  await using here = await cell();
  const { it, blocker } = here;
  const { fake, container } = await runs(here, "always");
  await blocker.block(container, "test");
  await it.docker.close();
  await t.rejects(blocker.unblock("web"), { code: "TM_DOCKER" });
  t.ok(blocker.isBlocked(fake.id));
  t.equal(here.stored().length, 1);
  await it.docker.listen();
  it.docker.fail(/\/start/, 500);
  t.match(await blocker.unblock("web"), { result: "failed", error: /500/ });
  t.notOk(blocker.isBlocked(fake.id));
});

t.test("the removed are forgotten after a while", async (t) => {
  const clock = new ManualClock(1_000_000);
  await using here = await cell({ clock });
  const { it, blocker } = here;
  const { fake, container } = await runs(here);
  await blocker.block(container, "test");
  it.docker.remove(fake.id);
  clock.advance(60_000);
  await until(() => blocker.blocked()[0]?.goneAt !== null, "noticed");
  t.equal(blocker.blocked().length, 1);
  await until(() => {
    clock.advance(60_000);
    return blocker.blocked().length === 0;
  }, "forgotten");
  await until(() => here.stored().length === 0, "on the disk too");
});

t.test("a list that cannot be understood is set aside", async (t) => {
  await using here = await cell();
  const { container } = await runs(here);
  await here.blocker.block(container, "test");
  for (const text of ["{", "[]", '{"version":2,"containers":[]}', '{"version":1,"containers":[{"id":1}]}']) {
    writeFileSync(here.file, text);
    t.same((await here.reopen()).blocked(), [], text);
    t.equal(readFileSync(`${here.file}.unreadable`, "utf8"), text);
  }
});

t.test("a disk that takes nothing does not keep it from being stopped", async (t) => {
  await using here = await cell({ file: "/proc/no-such-folder/blocked.json" });
  const { fake, container } = await runs(here);
  t.match(await here.blocker.block(container, "test"), {
    result: "killed",
    failures: [/remember: cannot write/],
  });
  t.equal(fake.pid, 0);
  await t.rejects(here.blocker.unblock("web"), { code: "TM_STORE" });
  t.ok(here.blocker.isBlocked(fake.id));
});
