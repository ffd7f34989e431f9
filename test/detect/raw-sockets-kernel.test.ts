/** Raw and packet sockets on the real kernel, among them some that live for microseconds. */
import { existsSync, mkdtempSync, readdirSync, rmdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { systemClock } from "../../src/clock.ts";
import { type RawSocket, RawSockets } from "../../src/detect/raw-sockets.ts";
import { WatchedNamespaces } from "../../src/detect/sockets/namespaces.ts";
import { hostProcessTable } from "../../src/detect/sockets/processes.ts";
import { readRawTables } from "../../src/detect/sockets/raw-tables.ts";
import { TRACEFS, TraceInstance } from "../../src/detect/sockets/trace-instance.ts";
import { loadNative } from "../../src/native/native.ts";
import { makeNamespace, sh } from "../native/namespace.ts";
import { until } from "../native/world.ts";
import { perl, unable } from "./sockets-kernel.ts";

const ID = "b".repeat(64);

/** A mount of tracefs: the machine's, or one of our own that ends with the tests. Empty: there is no tracefs. */
function mountTracefs(): string {
  const there = TRACEFS.find((place) => existsSync(join(place, "instances")));
  if (there !== undefined) return there;
  const place = mkdtempSync(join(tmpdir(), "tm-tracefs-"));
  try {
    sh(`mount -t tracefs tracefs ${place}`);
  } catch {
    rmdirSync(place);
    return "";
  }
  t.teardown(() => {
    sh(`umount ${place}`);
    rmdirSync(place);
  });
  return place;
}

const skip = unable();
const mount = skip === false ? mountTracefs() : "";
const traceSkip = skip !== false ? skip : mount === "" ? "needs tracefs" : false;
const native = skip === false ? loadNative() : null;

function detector(namespaces: WatchedNamespaces, mounts: readonly string[], told: RawSocket[]): RawSockets {
  return new RawSockets({
    interval: 10_000,
    namespaces,
    processes: hostProcessTable,
    tables: readRawTables,
    openTrace: () => TraceInstance.open(mounts),
    watchReadable: (descriptor, onReadable) => native!.watchReadable(descriptor, onReadable),
    clock: systemClock,
    onRawSocket: (socket) => told.push(socket),
  });
}

function kinds(told: readonly RawSocket[]): string[] {
  return told.map(({ socket, protocol }) => `${socket} ${protocol}`).sort();
}

const OPEN = `
socket(A, PF_INET, SOCK_RAW, 1) or die; socket(B, PF_INET6, SOCK_RAW, 58) or die;
socket(C, 17, SOCK_RAW, 0x0300) or die; socket(D, PF_INET, SOCK_DGRAM, 0); socket(E, PF_INET, SOCK_STREAM, 0);`;

t.test("what stands is found in the tables, with its process", { skip }, async (t) => {
  const name = makeNamespace(t, "rawtables");
  const { pid } = await perl(t, name, `${OPEN} print "ready\\n"; sleep 60;`);
  const namespaces = new WatchedNamespaces();
  namespaces.upsert({ id: ID, pid, networkNamespace: `/run/netns/${name}` });
  const told: RawSocket[] = [];
  const raw = detector(namespaces, ["/nowhere"], told);
  raw.start();
  t.match(raw.status(), { source: "tables", reason: /tracefs is not mounted.*\/nowhere/ });
  raw.scan();
  raw.stop();
  // The two raw ones are one matter.
  t.strictSame(kinds(told), ["packet 3", "raw 1"]);
  for (const socket of told) t.match(socket, { container: ID, pid, command: "perl" });
});

t.test(
  "what lives for microseconds is found in the trace, what is refused is not",
  { skip: traceSkip },
  async (t) => {
    const name = makeNamespace(t, "rawtrace");
    const namespaces = new WatchedNamespaces();
    namespaces.upsert({ id: ID, pid: 0, networkNamespace: `/run/netns/${name}` });
    const told: RawSocket[] = [];
    const raw = detector(namespaces, [mount], told);
    raw.start();
    t.teardown(() => raw.stop());
    t.match(raw.status(), { source: "trace", reason: null });
    const instance = join(mount, "instances", `tidesman-${process.pid}`);
    t.ok(existsSync(instance));
    const { pid } = await perl(
      t,
      name,
      `socket(R, PF_INET, SOCK_RAW, -1); $0 = "first"; ${OPEN} close A; close B; close C; print "ready\\n"; sleep 60;`,
    );
    await until("the sockets were told", () => told.length >= 2);
    t.strictSame(kinds(told), ["packet 3", "raw 1"]);
    for (const socket of told) t.match(socket, { container: ID, pid, command: "first" });
    t.ok(raw.status().refused >= 1);
    raw.stop();
    t.notOk(existsSync(instance), "nothing is left behind");
  },
);

t.test("processes that end at once are mostly still known", { skip: traceSkip }, async (t) => {
  const name = makeNamespace(t, "rawshort");
  const namespaces = new WatchedNamespaces();
  namespaces.upsert({ id: ID, pid: 0, networkNamespace: `/run/netns/${name}` });
  const told: RawSocket[] = [];
  const raw = detector(namespaces, [mount], told);
  raw.start();
  t.teardown(() => raw.stop());
  // Each child is reaped at once by its parent, which is the worst case.
  const program = `for $i (1..40) { $p = fork; if (!$p) { $0 = "short$i"; socket(A, PF_INET, SOCK_RAW, 1); close A; require POSIX; POSIX::_exit(0); } waitpid $p, 0; select undef, undef, undef, 0.01; } print "done\\n"; sleep 60;`;
  await perl(t, name, program);
  await until("each was told or counted", () => told.length + raw.status().unattributed >= 40);
  t.comment(`40 processes that ended at once: ${told.length} known, ${raw.status().unattributed} gone`);
  t.equal(raw.status().lost, 0);
});

/** Number of setns(2), which perl has no name for. */
const SETNS: Readonly<Record<string, number>> = { x64: 308, arm64: 268 };

t.test("a thread that visits a namespace is not of its container", { skip: traceSkip }, async (t) => {
  const name = makeNamespace(t, "rawvisit");
  const home = makeNamespace(t, "rawhome");
  const namespaces = new WatchedNamespaces();
  namespaces.upsert({ id: ID, pid: 0, networkNamespace: `/run/netns/${name}` });
  const told: RawSocket[] = [];
  const raw = detector(namespaces, [mount], told);
  raw.start();
  t.teardown(() => raw.stop());
  const setns = SETNS[process.arch] ?? 0;
  const visit = `use threads; threads->create(sub { open(N, "<", "/run/netns/${name}") or die; syscall(${setns}, fileno(N), 0) == 0 or die; socket(A, 17, SOCK_DGRAM, 0x0300) or die; sleep 1 })->join; print "done\\n"; sleep 60;`;
  await perl(t, home, visit);
  // What comes behind it in the trace is told behind it.
  const { pid } = await perl(t, name, `socket(A, PF_INET, SOCK_RAW, 1); print "ready\\n"; sleep 60;`);
  await until("the later one was told", () => told.length > 0);
  t.match(told, [{ socket: "raw", pid }]);
  t.equal(told.length, 1);
});

t.test(
  "instances of processes that are gone are removed by the next start",
  { skip: traceSkip },
  async (t) => {
    const mine = TraceInstance.open([mount], 4_194_301);
    const instances = (): string[] =>
      readdirSync(join(mount, "instances")).filter((name) => name.startsWith("tidesman-4194"));
    t.strictSame(instances(), ["tidesman-4194301"]);
    const next = TraceInstance.open([mount], 4_194_302);
    t.strictSame(instances(), ["tidesman-4194301", "tidesman-4194302"], "one that is still read stays");
    mine.close();
    mine.close();
    next.close();
    t.strictSame(instances(), []);
    const left = TraceInstance.open([mount], 4_194_303);
    const path = join(mount, "instances/tidesman-4194303");
    left.close();
    sh(`mkdir ${path}`);
    TraceInstance.open([mount], 4_194_302).close();
    t.strictSame(instances(), []);
  },
);
