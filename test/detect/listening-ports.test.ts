import t from "tap";
import { formatAddress } from "../../src/address.ts";
import { type Listener, ListeningPorts } from "../../src/detect/listening-ports.ts";
import { createFakeNative, type FakeListener } from "../../src/native/fake.ts";
import { readListeners } from "../../src/native/listener-rows.ts";
import { ONE, processOf, SocketsWorld, TWO } from "./sockets-world.ts";

class World extends SocketsWorld {
  readonly native = createFakeNative(this.clock);
  readonly told: Listener[] = [];
  readonly failures: string[] = [];
  readonly ports = new ListeningPorts({
    interval: 10_000,
    udpSettle: 30_000,
    namespaces: this.namespaces,
    list: (namespace) => this.native.listeners(namespace),
    read: readListeners,
    processes: this.processes,
    clock: this.clock,
    onListener: (listener) => this.told.push(listener),
    onFailure: (namespace) => this.failures.push(namespace),
  });

  set(pid: number, ...listeners: readonly FakeListener[]): void {
    this.native.setListeners(`/proc/${pid}/ns/net`, listeners);
  }

  /** What was told since, as `container protocol address port command`. */
  taken(): string[] {
    return this.told
      .splice(0)
      .map(
        ({ container, protocol, address, port, process }) =>
          `${container[0]} ${protocol} ${formatAddress(address)} ${port} ${process?.command ?? "?"}`,
      );
  }
}

function on(protocol: 6 | 17, address: string, port: number, inode = port): FakeListener {
  return { protocol, address, port, inode, uid: 0 };
}

t.test("a listener is told once, with its process", async (t) => {
  const w = new World();
  w.add(ONE, 10, 100);
  w.held.set(80, processOf(11, "nginx", ONE, 100));
  w.set(10, on(6, "0.0.0.0", 80), on(6, "::", 81));
  w.ports.scan();
  t.strictSame(w.taken(), ["1 6 0.0.0.0 80 nginx", "1 6 :: 81 ?"]);
  w.ports.scan();
  w.set(10, on(6, "::", 81), on(6, "0.0.0.0", 80, 9999));
  w.ports.scan();
  t.strictSame(w.taken(), [], "nor when its socket is another");
  t.equal(w.searches, 1, "processes are looked for only when something is new");
  w.set(10, on(6, "::", 81), on(6, "0.0.0.0", 80), on(17, "127.0.0.1", 80));
  w.ports.scan();
  t.strictSame(w.taken(), ["1 17 127.0.0.1 80 nginx"]);
  w.ports.retell();
  w.ports.scan();
  t.strictSame(
    w.told.map(({ again }) => again),
    [true, true, true],
  );
  t.equal(w.taken().length, 3);
});

t.test("what is told again does not have to settle, and what went meanwhile is new", async (t) => {
  const w = new World();
  w.add(ONE, 10, 100);
  w.set(10, on(17, "0.0.0.0", 40_000), on(6, "0.0.0.0", 80));
  w.ports.scan();
  w.clock.advance(30_000);
  w.ports.scan();
  t.equal(w.taken().length, 2);
  w.ports.retell();
  w.ports.retell();
  w.set(10, on(17, "0.0.0.0", 40_000));
  w.ports.scan();
  w.set(10, on(17, "0.0.0.0", 40_000), on(6, "0.0.0.0", 80));
  w.ports.scan();
  t.strictSame(
    w.told.map(({ port, again }) => `${port} ${again}`),
    ["40000 true", "80 false"],
  );
});

t.test("one that was away for long is told again, one that was away for a moment is not", async (t) => {
  const w = new World();
  w.add(ONE, 10, 100);
  const look = (away: boolean, after: number): string[] => {
    w.clock.advance(after);
    w.set(10, ...(away ? [] : [on(6, "0.0.0.0", 80)]));
    w.ports.scan();
    return w.taken();
  };
  t.equal(look(false, 0).length, 1);
  t.strictSame(look(true, 10_000), []);
  t.strictSame(look(false, 10_000), []);
  t.strictSame(look(false, 3_600_000), [], "while it stands it does not rest");
  t.strictSame(look(true, 10_000), []);
  t.strictSame(look(true, 600_000), []);
  t.equal(look(false, 10_000).length, 1);
});

t.test("a UDP socket on an ephemeral port has to stand for a while", async (t) => {
  const w = new World();
  w.add(ONE, 10, 100);
  w.set(10, on(17, "0.0.0.0", 53), on(17, "0.0.0.0", 40_000), on(6, "0.0.0.0", 40_000));
  w.ports.scan();
  t.strictSame(w.taken(), ["1 17 0.0.0.0 53 ?", "1 6 0.0.0.0 40000 ?"]);
  w.clock.advance(29_999);
  w.ports.scan();
  t.strictSame(w.taken(), []);
  w.set(10, on(17, "0.0.0.0", 53), on(17, "0.0.0.0", 40_000, 7), on(6, "0.0.0.0", 40_000));
  w.ports.scan();
  w.clock.advance(20_000);
  w.ports.scan();
  t.strictSame(w.taken(), [], "another socket on the same port begins anew");
  w.clock.advance(10_000);
  w.ports.scan();
  t.strictSame(w.taken(), ["1 17 0.0.0.0 40000 ?"], "though the list did not change");
});

t.test("the resolver that Docker puts into a namespace is not told", async (t) => {
  const w = new World();
  w.add(ONE, 10, 100);
  w.set(10, on(17, "127.0.0.11", 40_001), on(6, "127.0.0.11", 40_002), on(6, "127.0.0.1", 40_003));
  for (const after of [0, 60_000]) {
    w.clock.advance(after);
    w.ports.scan();
  }
  t.strictSame(w.taken(), ["1 6 127.0.0.1 40003 ?"]);
});

t.test(
  "a namespace that is shared is looked into once, and its listeners go to their containers",
  async (t) => {
    const w = new World();
    w.add(ONE, 10, 100);
    w.add(TWO, 20, 100);
    w.held.set(80, processOf(21, "nginx", TWO, 100));
    w.held.set(82, { pid: 1, command: "nsenter", cgroup: "0::/user.slice\n", namespace: 100 });
    w.set(10, on(6, "::", 80), on(6, "::", 81), on(6, "::", 82));
    w.ports.scan();
    t.strictSame(w.taken(), ["2 6 :: 80 nginx", "1 6 :: 81 ?", "1 6 :: 82 nsenter"]);
    w.namespaces.remove(ONE);
    w.set(20, on(6, "::", 80), on(6, "::", 83));
    w.ports.scan();
    t.strictSame(w.taken(), ["2 6 :: 83 ?"]);
  },
);

t.test("the host's own namespace, and one whose path leads elsewhere by now, are left alone", async (t) => {
  const w = new World();
  w.add(ONE, 10, 1);
  w.set(10, on(6, "0.0.0.0", 22));
  w.add(TWO, 20, 200);
  w.set(20, on(6, "0.0.0.0", 80));
  w.paths.set("/proc/20/ns/net", 300);
  w.ports.scan();
  t.strictSame(w.taken(), []);
  w.add(TWO, 21, 300);
  w.set(21, on(6, "0.0.0.0", 80));
  w.ports.scan();
  t.strictSame(w.taken(), ["2 6 0.0.0.0 80 ?"], "a new life is another matter");
});

t.test("a namespace that cannot be read does not keep the others from being read", async (t) => {
  const w = new World();
  w.add(ONE, 10, 100);
  w.add(TWO, 20, 200);
  w.set(20, on(6, "0.0.0.0", 80));
  w.ports.scan();
  t.strictSame(w.failures, ["/proc/10/ns/net"]);
  t.equal(w.taken().length, 1);
});

t.test("a flood of listeners comes in portions", async (t) => {
  const w = new World();
  w.add(ONE, 10, 100);
  w.set(10, ...Array.from({ length: 150 }, (_, index) => on(6, "0.0.0.0", 1000 + index)));
  const counts = [0, 1, 2, 3].map(() => {
    w.ports.scan();
    return w.taken().length;
  });
  t.strictSame(counts, [64, 64, 22, 0]);
});

t.test("by the clock every namespace has its turn within the interval", async (t) => {
  const w = new World();
  for (let index = 0; index < 25; index++) {
    w.add(`${index}`.padStart(64, "a"), 10 + index, 100 + index);
    w.set(10 + index, on(6, "0.0.0.0", 80));
  }
  w.ports.start();
  w.ports.start();
  w.clock.advance(1_000);
  t.equal(w.taken().length, 3);
  w.clock.advance(9_000);
  t.equal(w.taken().length, 22);
  w.ports.stop();
  w.set(10, on(6, "0.0.0.0", 81));
  w.clock.advance(60_000);
  t.strictSame(w.taken(), []);
});
