import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import t, { type Test } from "tap";
import { ManualClock, systemClock } from "../../src/clock.ts";
import {
  type Evidence,
  type EvidenceAnswer,
  type EvidenceQuestion,
  EvidenceTaker,
  type EvidenceWorker,
  READY,
} from "../../src/container/evidence.ts";
import { type Places, processesOf, readProcesses } from "../../src/container/evidence-processes.ts";
import { readSockets } from "../../src/container/evidence-sockets.ts";
import { EvidenceStore } from "../../src/container/evidence-store.ts";
import type { Container } from "../../src/container/types.ts";
import { createFakeNative } from "../../src/native/fake.ts";

const ID = "c0ffee".repeat(10).padEnd(64, "0");
const never = (): boolean => false;

const container: Container = {
  id: ID,
  name: "web",
  image: "docker.io/library/web:1",
  imageDigest: "sha256:web",
  namespace: null,
  labels: {},
  state: "running",
  pid: 100,
  startedAt: 1_795_503_185_000,
  networkNamespace: "/run/docker/netns/web",
  networks: [],
  networkMode: "bridge",
};

/** A /proc and a /sys/fs/cgroup of our own. */
class Kernel {
  readonly places: Places;
  readonly #root: string;
  constructor(t: Test) {
    this.#root = mkdtempSync(join(tmpdir(), "tm-evidence-"));
    t.teardown(() => rmSync(this.#root, { recursive: true }));
    this.places = { proc: join(this.#root, "proc"), cgroups: join(this.#root, "cgroup") };
    this.file("proc/stat", "cpu 1 2 3\nbtime 1700000000\n");
    this.link("proc/self/ns/net", "net:[1]");
    this.link("proc/self/ns/pid", "pid:[1]");
  }
  file(path: string, text: string): void {
    const place = join(this.#root, path);
    mkdirSync(dirname(place), { recursive: true });
    writeFileSync(place, text);
  }
  link(path: string, target: string): void {
    const place = join(this.#root, path);
    mkdirSync(dirname(place), { recursive: true });
    symlinkSync(target, place);
  }
  process(
    pid: number,
    options: { cgroup?: string; name?: string; line?: string; sockets?: number[] } = {},
  ): void {
    const { cgroup = `0::/docker/${ID}`, name = "sh", line = "sh\0-c\0true\0", sockets = [] } = options;
    this.file(`proc/${pid}/cgroup`, `${cgroup}\n`);
    this.file(
      `proc/${pid}/status`,
      `Name:\t${name}\nPPid:\t99\nUid:\t0\t1000\t0\t0\nGid:\t0\t50\t0\t0\nNSpid:\t${pid}\t${pid - 99}\n`,
    );
    const fields = `S 99 ${"0 ".repeat(17)}4200 0`;
    this.file(`proc/${pid}/stat`, `${pid} (a) b) ${fields}\n`);
    this.file(`proc/${pid}/cmdline`, line);
    this.link(`proc/${pid}/exe`, "/bin/busybox (deleted)");
    this.link(`proc/${pid}/ns/net`, "net:[2]");
    this.link(`proc/${pid}/ns/pid`, "pid:[2]");
    this.link(`proc/${pid}/fd/0`, "/dev/null");
    for (const [index, inode] of sockets.entries())
      this.link(`proc/${pid}/fd/${index + 3}`, `socket:[${inode}]`);
  }
}

t.test("processes of the control group, in every form of it, and of groups below", async (t) => {
  for (const [line, folder] of [
    [`0::/docker/${ID}`, `docker/${ID}`],
    [`0::/docker/${ID}`, `unified/docker/${ID}`],
    [`5:pids:/docker/${ID}`, `pids/docker/${ID}`],
    [`1:name=systemd:/docker/${ID}`, `systemd/docker/${ID}`],
    [`0::/system.slice/docker-${ID}.scope`, `system.slice/docker-${ID}.scope`],
  ] as const) {
    const kernel = new Kernel(t);
    kernel.process(100, { cgroup: `9:cpu:/\n${line}` });
    kernel.file(`cgroup/${folder}/cgroup.procs`, "102\n100\n");
    kernel.file(`cgroup/${folder}/below/cgroup.procs`, "101\n");
    t.strictSame(processesOf(100, ID, never, kernel.places), [100, 101, 102], folder);
  }
});

t.test("where control groups are not to be seen, by name and by pid namespace", async (t) => {
  const kernel = new Kernel(t);
  kernel.process(100, { cgroup: "0::/" });
  kernel.process(101, { cgroup: "0::/" });
  kernel.process(102, { cgroup: "0::/" });
  rmSync(join(kernel.places.proc, "102/ns/pid"));
  kernel.link("proc/102/ns/pid", "pid:[1]");
  kernel.process(103, { cgroup: `0::/other/${ID}` });
  t.strictSame(processesOf(100, ID, never, kernel.places), [100, 101, 103]);
  t.strictSame(
    processesOf(100, ID, () => true, kernel.places),
    [100],
    "out of time",
  );
});

t.test("what is told of a process, in bounds", async (t) => {
  const kernel = new Kernel(t);
  kernel.process(100, { name: "a) b", line: `sh\0-c\0${"x".repeat(5_000)}\0` });
  kernel.process(101, { line: "" });
  const { found, omitted } = readProcesses([100, 101, 77], never, kernel.places);
  t.equal(omitted, 0, "77 has ended, which is no omission");
  t.match(found[0], {
    pid: 100,
    innerPid: 1,
    parent: 99,
    user: 1000,
    group: 50,
    name: "a) b",
    executable: "/bin/busybox (deleted)",
    startedAt: new Date(1_700_000_000_000 + 42_000).toISOString(),
  });
  t.equal(found[0]?.commandLine.length, 1_024);
  t.match(found[0]?.commandLine, /^sh -c xxx/);
  t.equal(found[1]?.commandLine, "", "a kernel thread has none");
  const many = Array.from({ length: 300 }, (_, index) => 1_000 + index);
  for (const pid of many) kernel.process(pid);
  const bounded = readProcesses(many, never, kernel.places);
  t.strictSame([bounded.found.length, bounded.omitted], [256, 44]);
});

const HEAD =
  "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
const row = (local: string, remote: string, state: string, inode: number): string =>
  `   0: ${local} ${remote} ${state} 00000000:00000000 00:00000000 00000000  1000        0 ${inode} 1 0 0\n`;

t.test("sockets, with those who hold them", async (t) => {
  const kernel = new Kernel(t);
  kernel.process(100, { sockets: [11, 12] });
  kernel.process(101, { sockets: [12, 15] });
  const net = "proc/100/net";
  kernel.file(
    `${net}/tcp`,
    HEAD +
      row("020011AC:9C40", "076433C6:01BB", "01", 12) +
      row("020011AC:9C41", "076433C6:01BB", "06", 0) +
      row("00000000:1F90", "00000000:0000", "0A", 11),
  );
  const mapped = "0000000000000000FFFF0000020011AC";
  kernel.file(`${net}/tcp6`, HEAD + row(`${mapped}:0050`, `${mapped}:9C42`, "01", 13));
  const inner = "B80D0120000000000000000001000000";
  kernel.file(`${net}/udp6`, HEAD + row(`${inner}:0035`, `${"0".repeat(32)}:0000`, "07", 14));
  kernel.file(`${net}/raw`, HEAD + row("00000000:0001", "00000000:0000", "07", 15));
  kernel.file(
    `${net}/packet`,
    "sk       RefCnt Type Proto  Iface R Rmem   User   Inode\n0000000000000000 3      3    0003   2     1 0      0      16\n",
  );
  const { found, omitted } = readSockets(100, [100, 101], never, kernel.places);
  t.equal(omitted, 0);
  t.match(found, [
    { protocol: "raw", state: null, local: "IP protocol 1 at 0.0.0.0", remote: null, processes: [101] },
    { protocol: "packet", state: null, local: "EtherType 0x0003", remote: null, processes: [] },
    { protocol: "tcp", state: "listen", local: "0.0.0.0:8080", remote: null, user: 1000, processes: [100] },
    {
      protocol: "tcp",
      state: "established",
      local: "172.17.0.2:40000",
      remote: "198.51.100.7:443",
      processes: [100, 101],
    },
    { protocol: "tcp", local: "[::ffff:172.17.0.2]:80", remote: "[::ffff:172.17.0.2]:40002", processes: [] },
    { protocol: "udp", state: "open", local: "[2001:db8::1]:53", remote: null },
    { protocol: "tcp", state: "timeWait", processes: [] },
  ]);
});

t.test("too many sockets: what is over is left out first; garbage is passed over", async (t) => {
  const kernel = new Kernel(t);
  kernel.process(100);
  const over = Array.from({ length: 600 }, (_, index) =>
    row("020011AC:9C41", `076433C6:${(1_000 + index).toString(16).toUpperCase().padStart(4, "0")}`, "06", 0),
  );
  kernel.file(
    "proc/100/net/tcp",
    `${HEAD}${over.join("")}nonsense\n${row("00000000:1F90", "00000000:0000", "0A", 11)}   1: 0200`,
  );
  const { found, omitted } = readSockets(100, [100], never, kernel.places);
  t.strictSame([found.length, omitted], [512, 89]);
  t.match(found[0], { state: "listen" });
});

t.test("in the host's namespace only what its processes hold", async (t) => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.teardown(() => server.close());
  const address = server.address();
  const port = typeof address === "object" ? address?.port : 0;
  const { found } = readSockets(process.pid, [process.pid], never);
  t.ok(found.every(({ processes }) => processes.includes(process.pid)));
  t.match(
    found.find(({ local }) => local === `127.0.0.1:${port}`),
    { protocol: "tcp", state: "listen", remote: null },
  );
});

// ------------------------------------------------------------------------------------------------ taking

/** A worker that answers when it is told to. */
class SlowWorker implements EvidenceWorker {
  readonly questions: EvidenceQuestion[] = [];
  terminated = false;
  readonly #listeners = new Map<string, (answer: EvidenceAnswer) => void>();
  postMessage(question: EvidenceQuestion): void {
    this.questions.push(question);
  }
  on(event: string, listener: (answer: EvidenceAnswer) => void): void {
    this.#listeners.set(event, listener);
  }
  unref(): void {}
  async terminate(): Promise<void> {
    this.terminated = true;
  }
  answer(number: number): void {
    const omitted = { processes: 1, sockets: 0 };
    this.#listeners.get("message")?.({ number, processes: [], sockets: [], omitted, complete: true });
  }
  ready(): void {
    this.answer(READY);
  }
  fail(): void {
    this.#listeners.get("error")?.({} as EvidenceAnswer);
  }
}

function taking() {
  const clock = new ManualClock(1_795_503_185_000);
  const native = createFakeNative(clock);
  native.setLinks(
    [
      {
        index: 2,
        name: "eth0",
        peer: 9,
        master: 0,
        kind: "veth",
        up: true,
        hardwareAddress: "02:42:ac:11:00:02",
        addresses: ["172.17.0.2/16"],
      },
    ],
    container.networkNamespace,
  );
  const workers: SlowWorker[] = [];
  let belongs = true;
  const taker = new EvidenceTaker({
    native,
    clock,
    processes: { belongs: () => belongs, runs: () => true, kill() {} },
    startWorker() {
      workers.push(new SlowWorker());
      return workers.at(-1)!;
    },
  });
  return {
    clock,
    workers,
    taker,
    leave() {
      belongs = false;
    },
  };
}

t.test("what the worker finds, and the interfaces as they are inside", async (t) => {
  const { workers, taker } = taking();
  const evidence = taker.take(container);
  t.match(workers[0]?.questions, [{ container: ID, pid: 100, time: 100 }]);
  workers[0]?.answer(1);
  t.match(await evidence, {
    time: new Date(1_795_503_185_000).toISOString(),
    complete: true,
    omitted: { processes: 1 },
    interfaces: [{ name: "eth0", addresses: ["172.17.0.2/16"] }],
  });
  await taker.stop();
  t.ok(workers[0]?.terminated);
});

t.test("a container that holds the worker up does not hold up its own end, nor the next", async (t) => {
  const { clock, workers, taker } = taking();
  const held = taker.take(container);
  workers[0]?.ready();
  clock.advance(150);
  t.match(await held, { complete: false, processes: [], took: 150, interfaces: [{ name: "eth0" }] });
  t.equal(workers.length, 2, "another takes its place at once");
  t.ok(workers[0]?.terminated);
  workers[0]?.answer(1);
  const next = taker.take(container);
  workers[1]?.answer(2);
  t.equal((await next).complete, true);

  const failed = taker.take(container);
  workers[1]?.fail();
  t.equal((await failed).complete, false, "a worker that ends");
  const after = taker.take(container);
  workers[2]?.answer(4);
  t.equal((await after).complete, true);
});

t.test("a worker that still starts is let start, however long that takes", async (t) => {
  const { clock, workers, taker } = taking();
  const early = taker.take(container);
  clock.advance(150);
  t.equal((await early).complete, false);
  const late = taker.take(container);
  clock.advance(100);
  t.equal(workers.length, 1);
  workers[0]?.ready();
  workers[0]?.answer(1);
  workers[0]?.answer(2);
  t.equal((await late).complete, true);
  await taker.stop();
});

t.test("nothing is read of a container that has ended", async (t) => {
  const { workers, taker, leave } = taking();
  t.match(await taker.take({ ...container, pid: 0 }), { complete: false });
  t.match(await taker.take({ ...container, networkMode: "host", pid: 0 }), { interfaces: [] });
  leave();
  t.match(await taker.take(container), { complete: false });
  t.equal(workers.length, 0);
});

t.test("in a thread, of a real process", async (t) => {
  const taker = new EvidenceTaker({
    native: createFakeNative(),
    clock: systemClock,
    processes: { belongs: () => true, runs: () => true, kill() {} },
  });
  // The thread may still be starting when it is asked for the first time.
  let evidence: Evidence;
  const end = performance.now() + 15_000;
  do evidence = await taker.take({ ...container, pid: process.pid });
  while (evidence.processes.length === 0 && performance.now() < end);
  t.match(evidence.processes[0], { pid: process.pid, user: process.getuid?.() });
  t.match(evidence.processes[0]?.commandLine, /evidence\.test\.ts/);
  await taker.stop();
});

// ------------------------------------------------------------------------------------------------ keeping

const TAKEN: Evidence = {
  time: "2026-11-24T02:33:39.497Z",
  took: 12,
  processes: [],
  sockets: [],
  interfaces: [],
  omitted: { processes: 0, sockets: 0 },
  complete: true,
};
const facts = { id: ID, name: "web", image: "web", imageDigest: "", namespace: null, labels: {} };
const about = { reason: "test", action: "stop", result: "killed" } as const;

t.test("kept for root alone, listed with the latest first, found by container and identifier", async (t) => {
  const directory = join(t.testdir(), "evidence");
  const notices: string[] = [];
  const store = new EvidenceStore({ directory, onNotice: (message) => void notices.push(message) });
  t.strictSame(await store.list(), []);
  const first = await store.save({ ...about, container: facts, ...TAKEN, recorder: [] });
  t.equal(first, "20261124T023339497Z-c0ffeec0ffee");
  t.equal(statSync(directory).mode & 0o777, 0o700);
  t.equal(statSync(join(directory, `${first}.json`)).mode & 0o777, 0o600);
  const later = { ...TAKEN, time: "2026-11-24T03:00:00.000Z" };
  const other = { ...facts, id: "d00d".padEnd(64, "0"), name: "db" };
  const second = await store.save({ ...about, container: other, ...later, recorder: [] });
  const third = await store.save({ ...about, container: facts, ...later, took: 13, recorder: [] });
  const again = new EvidenceStore({ directory, onNotice: (message) => void notices.push(message) });
  t.strictSame(
    (await again.list()).map(({ id }) => id),
    [second, third, first].sort().reverse(),
  );
  t.match(await again.find("web"), { id: third, took: 13 });
  t.match(await again.find(ID.slice(0, 12)), { id: third });
  t.match(await again.find("db"), { id: second });
  t.match(await again.find(first), { id: first, took: 12 });
  for (const unknown of ["", "nobody", "../../etc/passwd"]) {
    await t.rejects(again.find(unknown), { code: "TM_NOT_FOUND" }, unknown);
  }
  writeFileSync(join(directory, `${first}.json`), "{");
  const third2 = new EvidenceStore({ directory, onNotice: (message) => void notices.push(message) });
  t.equal((await third2.list()).length, 2);
  t.match(notices, [/`20261124T023339497Z-c0ffeec0ffee` cannot be understood/]);
});

t.test("the newest hundred are kept; a place that cannot be used is told", async (t) => {
  const directory = join(t.testdir(), "evidence");
  const store = new EvidenceStore({ directory, onNotice: t.fail });
  mkdirSync(directory);
  for (let index = 0; index < 102; index++) {
    const id = `20261124T020000${String(index).padStart(3, "0")}Z-c0ffeec0ffee`;
    const record = { id, ...about, container: facts, ...TAKEN, recorder: [] };
    writeFileSync(join(directory, `${id}.json`), JSON.stringify(record));
  }
  await store.save({ ...about, container: facts, ...TAKEN, recorder: [] });
  t.equal(readdirSync(directory).length, 100);
  t.equal((await store.list()).at(-1)?.id, "20261124T020000003Z-c0ffeec0ffee");
  const nowhere = new EvidenceStore({ directory: "/proc/none", onNotice: t.fail });
  await t.rejects(nowhere.save({ ...about, container: facts, ...TAKEN, recorder: [] }), { code: "TM_STORE" });
  t.strictSame(await nowhere.list(), []);
});
