import fc from "fast-check";
import t from "tap";
import { type RawSocket, RawSockets } from "../../src/detect/raw-sockets.ts";
import { type RawTableEntry, readRawTables } from "../../src/detect/sockets/raw-tables.ts";
import { parseTrace, type TraceRecord } from "../../src/detect/sockets/trace-instance.ts";
import { createFakeNative } from "../../src/native/fake.ts";
import { ONE, processOf, SocketsWorld, TWO } from "./sockets-world.ts";

const DESCRIPTOR = 9;

class World extends SocketsWorld {
  readonly native = createFakeNative(this.clock);
  readonly told: RawSocket[] = [];
  readonly tables = new Map<number, readonly RawTableEntry[]>();
  /** What the next reads bring; `more` with each but the last. */
  readonly batches: TraceRecord[][] = [];
  refusal: string | null = null;
  closed = 0;
  readonly raw = new RawSockets({
    interval: 10_000,
    namespaces: this.namespaces,
    processes: this.processes,
    tables: (pid) => this.tables.get(pid) ?? [],
    openTrace: () => {
      if (this.refusal !== null) throw new Error(this.refusal);
      return {
        descriptor: DESCRIPTOR,
        read: () => {
          const records = this.batches.shift() ?? [];
          return { records, more: this.batches.length > 0 };
        },
        close: () => this.closed++,
      };
    },
    watchReadable: (descriptor, onReadable) => this.native.watchReadable(descriptor, onReadable),
    clock: this.clock,
    onRawSocket: (socket) => this.told.push(socket),
  });

  /** The trace brings these. */
  bring(...batches: TraceRecord[][]): void {
    this.batches.push(...batches);
    this.native.makeReadable(DESCRIPTOR);
  }

  taken(): string[] {
    return this.told
      .splice(0)
      .map(({ container, socket, protocol, pid, command }) =>
        [container[0], socket, protocol, pid, command].join(" "),
      );
  }
}

function call(thread: number, command: string, socket: "raw" | "packet" = "raw", protocol = 1): TraceRecord {
  return { kind: "call", thread, command, socket, protocol };
}

t.test("lines of a trace", async (t) => {
  const line = (text: string, name = "         python3-7196 "): TraceRecord | undefined =>
    parseTrace(`${name}   [001] .....  5352.142717: ${text}`);
  const socket = (family: string, type: string, protocol: string): unknown => {
    const record = line(`sys_socket(family: ${family}, type: ${type}, protocol: ${protocol})`);
    return record?.kind === "call" ? `${record.socket} ${record.protocol}` : record;
  };
  t.strictSame(line("sys_socket(family: 2, type: 0x80003, protocol: 1)"), call(7196, "python3"));
  t.equal(socket("0xa", "3", "0x3a"), "raw 58");
  t.equal(socket("0x11", "0x80802", "0x300"), "packet 3", "a packet socket without its frames' headers too");
  t.equal(socket("2", "0xa", "0x608"), "packet 2054");
  t.equal(socket("0xffffffff00000002", "0x100000003", "6"), "raw 6", "the kernel looks at 32 bits");
  t.equal(socket("2", "2", "1"), undefined, "ping without privileges");
  t.equal(socket("0x100000002", "1", "6"), undefined);
  t.equal(socket("0x1f", "3", "0"), undefined, "Bluetooth");
  t.strictSame(line("sys_socket -> 0xffffffffffffffff"), { kind: "failure", thread: 7196 });
  t.strictSame(parseTrace("CPU:1 [LOST 123 EVENTS]"), { kind: "lost", count: 123 });
  for (const other of ["", "# tracer: nop", "           <...>-1  [0] .... 1.0: sys_connect(fd: 3)"]) {
    t.equal(parseTrace(other), undefined, other);
  }
});

t.test("a name cannot pretend to be another thread", async (t) => {
  const name = fc.oneof(
    fc.string({ unit: "binary-ascii", maxLength: 15 }),
    fc.constantFrom("a-1 [0] . 1.0: ", "x-1 [001] .... ", "-1   [000] .", "sys_socket -> 0"),
  );
  t.strictSame(
    parseTrace(`            a\rb-7     [001] .....  5.1: sys_socket(family: 2, type: 3, protocol: 1)`),
    call(7, "a\rb"),
  );
  fc.assert(
    fc.property(name, fc.nat(), (name, thread) => {
      const text = `${name.padStart(16)}-${thread}`.padEnd(22);
      // A line feed in a name ends a line, as it does in what is read.
      const lines = `${text} [001] .....  5352.142717: sys_socket(family: 2, type: 3, protocol: 1)`.split(
        "\n",
      );
      const records = lines.map(parseTrace).filter((record) => record !== undefined);
      return records.length === 1 && records[0]?.kind === "call" && records[0].thread === thread;
    }),
    { numRuns: 2000 },
  );
});

t.test("tables of a namespace", async (t) => {
  const tables = {
    raw: `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  255: 00000000:00FF 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 0000000000000000 0
`,
    raw6: `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
   58: 00000000000000000000000000000000:003A 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4712 2 0000000000000000 0
`,
    packet: `sk               RefCnt Type Proto  Iface R Rmem   User   Inode
0000000000000000 3      3    0003   2     1 0      0      4713
`,
  };
  t.strictSame(
    readRawTables(1, (_pid, table) => tables[table]),
    [
      { socket: "raw", protocol: 255, inode: 4711 },
      { socket: "raw", protocol: 58, inode: 4712 },
      { socket: "packet", protocol: 3, inode: 4713 },
    ],
  );
  t.strictSame(
    readRawTables(1, () => ""),
    [],
  );
  t.strictSame(
    readRawTables(1, () => "head\nbroken\n"),
    [],
  );
});

t.test("a traced call is told with its container when no failure follows", async (t) => {
  const w = new World();
  w.add(ONE, 10, 100);
  w.threads.set(12, processOf(11, "ping", ONE, 0));
  w.threads.set(13, { pid: 13, command: "init", cgroup: "0::/init.scope\n", namespace: 1 });
  w.raw.start();
  t.match(w.raw.status(), { source: "trace", reason: null });
  w.bring([call(12, "ping"), call(13, "tcpdump", "packet"), call(99, "gone")]);
  t.strictSame(w.taken(), []);
  w.clock.advance(20);
  t.strictSame(w.taken(), ["1 raw 1 11 ping"], "of the host nothing is told");
  w.bring([call(12, "nmap")], [{ kind: "failure", thread: 12 }]);
  w.clock.advance(400);
  t.strictSame(w.taken(), ["1 raw 1 11 nmap"], "a failure that comes too late cannot be waited for");
  w.bring([call(12, "arping"), { kind: "failure", thread: 12 }, { kind: "failure", thread: 77 }]);
  w.bring([{ kind: "lost", count: 5 }]);
  w.clock.advance(20);
  t.strictSame(w.taken(), []);
  t.match(w.raw.status(), { unattributed: 1, lost: 5, refused: 1 });
  w.raw.stop();
  w.raw.stop();
  t.equal(w.closed, 1);
  t.match(w.raw.status(), { source: "tables" });
});

t.test("a process is traced by its namespace when its control group says nothing", async (t) => {
  const w = new World();
  w.add(ONE, 10, 100);
  w.threads.set(12, { pid: 12, command: "sh", cgroup: "0::/\n", namespace: 100 });
  w.raw.start();
  w.bring([call(12, "<...>", "packet", 3)]);
  w.clock.advance(20);
  t.strictSame(w.taken(), ["1 packet 3 12 sh"], "and named by /proc when the trace has no name");
});

t.test("what is in the tables is told, without a trace too", async (t) => {
  const w = new World();
  w.refusal = "tracefs is not mounted";
  w.add(ONE, 10, 100);
  w.add(TWO, 20, 200);
  w.tables.set(10, [
    { socket: "raw", protocol: 1, inode: 5 },
    { socket: "packet", protocol: 3, inode: 6 },
  ]);
  w.held.set(5, processOf(11, "ping", ONE, 100));
  w.raw.start();
  t.match(w.raw.status(), { source: "tables", reason: "tracefs is not mounted" });
  w.clock.advance(10_000);
  t.strictSame(w.taken(), ["1 raw 1 11 ping", "1 packet 3 0 "]);
  t.equal(w.searches, 1);
  w.clock.advance(60_000);
  t.strictSame(w.taken(), []);
  t.equal(w.searches, 1, "processes are looked for only when something is new");
  w.raw.stop();
});

t.test("one matter is told once, and again after it rested", async (t) => {
  const w = new World();
  w.add(ONE, 10, 100);
  w.threads.set(12, processOf(12, "ping", ONE, 100));
  w.raw.start();
  const ping = (after: number): number => {
    w.clock.advance(after);
    w.bring([call(12, "ping")]);
    w.clock.advance(20);
    return w.taken().length;
  };
  t.strictSame([ping(0), ping(30_000), ping(590_000), ping(600_000)], [1, 0, 0, 1]);
  w.raw.forget(ONE);
  t.equal(ping(0), 1);
  w.bring(Array.from({ length: 200 }, (_, index) => call(12, `name${index}`)));
  w.clock.advance(20);
  t.equal(w.taken().length, 63, "names are the container's to invent");
});

t.test("a trace that brings more than can be read at once is paused", async (t) => {
  const w = new World();
  w.add(ONE, 10, 100);
  w.threads.set(12, processOf(12, "ping", ONE, 100));
  w.raw.start();
  w.bring([call(12, "a")], [call(12, "b")], [call(12, "c")]);
  w.native.makeReadable(DESCRIPTOR);
  w.clock.advance(20);
  t.equal(w.taken().length, 1, "nothing waits for it meanwhile");
  w.clock.advance(520);
  t.equal(w.taken().length, 2);
  w.batches.push([call(12, "d")]);
  w.native.makeReadable(DESCRIPTOR);
  w.clock.advance(20);
  t.equal(w.taken().length, 1, "and it is waited for again");
});

t.test("a trace that comes fast is read at a pace", async (t) => {
  const w = new World();
  w.add(ONE, 10, 100);
  w.threads.set(12, processOf(12, "ping", ONE, 100));
  w.raw.start();
  const reads = (): number => {
    let read = 0;
    for (; read < 1000; read++) {
      w.batches.push([call(12, "ping")]);
      w.native.makeReadable(DESCRIPTOR);
      if (w.batches.length > 0) break;
    }
    w.batches.length = 0;
    return read;
  };
  t.equal(reads(), 129);
  w.clock.advance(250);
  t.equal(reads(), 0, "in the same second it pauses after every read");
  w.clock.advance(1000);
  t.ok(reads() > 100);
});
