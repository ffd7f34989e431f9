/** The packet handler and its rules on real netfilter, in network namespaces of their own. */
import t from "tap";
import { Child } from "./child.ts";
import { BAD, BAD6, GOOD, GOOD6, namespaceRefusal } from "./network.ts";
import { FILE_LIMIT, NEVER, PacketWorld, SOON, until } from "./world.ts";

t.setTimeout(FILE_LIMIT);
const refusal = namespaceRefusal();
const skip = refusal === null ? {} : { skip: refusal };

function ping(world: PacketWorld, namespace: string, address: string): boolean {
  try {
    world.network.execIn(namespace, "busybox", "ping", "-c", "1", "-W", "1", address);
    return true;
  } catch {
    return false;
  }
}

t.test("connections of containers, decided once", skip, async (t) => {
  const world = new PacketWorld("decide", "open");
  t.teardown(() => world.remove());
  await world.serve();
  const c1 = world.container(2);
  const c2 = world.container(3);
  const c3 = world.container(4);
  await world.start();
  await world.introduce(2, 3);
  const c1Namespace = world.network.host.replace(/host$/, "c2");

  await t.test("allowed ones go out, denied ones never do", async (t) => {
    for (const [good, bad] of [
      [GOOD, BAD],
      [GOOD6, BAD6],
    ] as const) {
      t.match(await c1.call("connect", good, 80, SOON), /^open/);
      t.equal(await c1.call("connect", bad, 80, NEVER), "silent");
      t.equal(await c1.call("ask", good, 80, SOON), "good:ask");
      t.equal(await c1.call("ask", bad, 80, NEVER), "silent");
      t.ok(ping(world, c1Namespace, good), `ping ${good}`);
      t.notOk(ping(world, c1Namespace, bad), `ping ${bad}`);
    }
    t.notOk((await world.seen()).some(({ destination }) => destination === BAD || destination === BAD6));
    const { decided, findings, warnings } = await world.state();
    for (const key of [
      `6 ${GOOD} 80`,
      `17 ${GOOD} 80`,
      `1 ${GOOD} 8`,
      `6 ${GOOD6} 80`,
      `17 ${GOOD6} 80`,
      `58 ${GOOD6} 128`,
    ]) {
      t.equal(decided[key], 1, `${key} was decided once`);
    }
    t.ok(findings.every(({ container }) => container === "c2"));
    t.match(
      findings.find(({ connection }) => connection?.protocol === "icmpv6"),
      {
        attackType: "explicitlyDeniedIP",
        connection: { destination: BAD6, port: 128, source: "2001:db8:d0::2" },
      },
    );
    t.same(warnings, []);
  });

  await t.test("an established flow never comes to user space", async (t) => {
    const opened = await c1.call<string>("connect", GOOD, 80, SOON);
    const number = Number(opened.slice(5));
    const before = (await world.state()).stats.packets;
    for (let round = 0; round < 50; round++) t.equal(await c1.call("echo", number, SOON), "good:ping");
    t.equal((await world.state()).stats.packets, before);
    const flow = world.network.exec("conntrack", "-L", "-p", "tcp", "-s", "172.30.0.2", "-d", GOOD);
    t.match(flow, /mark=65536\b/);
  });

  await t.test("between containers of one bridge", async (t) => {
    await c2.call("listen", "172.30.0.3", 80, "c2:");
    await c2.call("listen", "2001:db8:d0::3", 80, "c2:");
    for (const address of ["172.30.0.3", "2001:db8:d0::3"]) {
      const opened = await c1.call<string>("connect", address, 80, SOON);
      t.match(opened, /^open/);
      t.equal(await c1.call("echo", Number(opened.slice(5)), SOON), "c2:ping");
      t.equal((await world.state()).decided[`6 ${address} 80`], 1);
    }
    await world.host.call("deny", [BAD, BAD6, "172.30.0.3"]);
    t.equal(await c1.call("ask", "172.30.0.3", 80, NEVER), "silent");
    await world.host.call("deny", [BAD, BAD6]);
  });

  await t.test("to the host itself", async (t) => {
    t.equal(await c1.call("connect", "172.30.0.1", 9, SOON), "ECONNREFUSED");
    t.equal((await world.state()).decided["6 172.30.0.1 9"], 1);
  });

  await t.test("a flow whose mark is taken away is judged again", async (t) => {
    const opened = await c1.call<string>("connect", GOOD, 80, SOON);
    const number = Number(opened.slice(5));
    await world.host.call("deny", [GOOD]);
    t.equal(await c1.call("echo", number, SOON), "good:ping", "not before");
    t.ok((await world.host.call<number>("requeue", "172.30.0.2")) > 0);
    t.equal(await c1.call("echo", number, NEVER), "silent");
    const before = (await world.state()).stats.packets;
    t.equal(await c1.call("echo", number, NEVER), "silent");
    t.equal((await world.state()).stats.packets, before, "what was denied is dropped in the kernel");
    await world.host.call("deny", [BAD, BAD6]);
    await world.host.call("requeue", "172.30.0.2");
    t.match(await c1.call("echo", number, SOON), /good:/, "and allowed again");
  });

  await t.test("a spoofed source is dropped and named", async (t) => {
    world.network.ip(c1Namespace.replace(/c2$/, "c3"), "addr", "add", "172.30.0.2/32", "dev", "eth0");
    const before = (await world.seen()).length;
    t.equal(await c2.call("ask", GOOD, 80, NEVER, "172.30.0.2"), "silent");
    const { findings } = await world.state();
    t.match(
      findings.find(({ attackType }) => attackType === "spoofedSource"),
      {
        container: "c3",
        message: /172\.30\.0\.2.*172\.30\.0\.3/,
        connection: { source: "172.30.0.2", destination: GOOD },
      },
    );
    t.equal((await world.seen()).length, before);
    world.network.ip(c1Namespace.replace(/c2$/, "c3"), "addr", "del", "172.30.0.2/32", "dev", "eth0");
    // The neighbours have heard of the other owner.
    world.network.ip(world.network.host, "neigh", "flush", "dev", "tmbr0");
  });

  await t.test("a container not known yet waits, alone", async (t) => {
    const waiting = c3.call<string>("connect", GOOD, 80, SOON);
    const { unknown } = await until(
      "the packet to be held",
      () => world.state(),
      (state) => state.stats.held > 0,
    );
    t.equal(unknown.filter(([, source]) => source === "172.30.0.4").length, 1);
    t.match(await c1.call("connect", GOOD, 80, SOON), /^open/, "others do not wait");
    await world.introduce(2, 3, 4);
    t.match(await waiting, /^open/);
    t.equal((await world.state()).stats.held, 0);
  });

  await t.test("lookups are redirected, their source kept, through a closed INPUT", async (t) => {
    const resolver = new Child(world.network.host, "./peer.ts");
    t.teardown(() => resolver.end());
    world.network.exec("iptables", "-P", "INPUT", "DROP");
    for (const address of ["172.30.0.1", "2001:db8:d0::1"])
      await resolver.call("listen", address, 5303, "proxy:");
    for (const address of [GOOD, GOOD6]) {
      t.equal(await c1.call("ask", address, 53, SOON), "proxy:ask");
      const opened = await c1.call<string>("connect", address, 53, SOON);
      t.equal(await c1.call("echo", Number(opened.slice(5)), SOON), "proxy:ping");
    }
    world.network.exec("iptables", "-P", "INPUT", "ACCEPT");
    const sources = (await resolver.call<{ source: string }[]>("seen")).map(({ source }) => source);
    t.same(sources, ["172.30.0.2", "172.30.0.2", "2001:db8:d0::2", "2001:db8:d0::2"]);
    const { stats, decided } = await world.state();
    t.equal(stats.lookups, 4);
    t.notOk(Object.keys(decided).some((key) => key.endsWith(" 53")));
  });

  await t.test("a container that is cut sends nothing but its resets", async (t) => {
    const numbers: number[] = [];
    for (const address of [GOOD, GOOD6]) {
      numbers.push(Number((await c1.call<string>("connect", address, 80, SOON)).slice(5)));
    }
    await world.host.call("cut", ["172.30.0.2", "2001:db8:d0::2"]);
    const seen = (await world.seen()).length;
    for (const number of numbers) t.equal(await c1.call("echo", number, NEVER), "silent");
    t.equal(await c1.call("ask", GOOD, 80, NEVER), "silent");
    t.equal((await world.seen()).length, seen);
    for (const number of numbers) await c1.call("reset", number);
    await until(
      "the servers to be told",
      () => world.seen(),
      (all) => all.filter(({ protocol }) => protocol === "reset").length === 2,
    );
    await world.host.call("uncut", ["172.30.0.2", "2001:db8:d0::2"]);
    t.match(await c1.call("connect", GOOD, 80, SOON), /^open/);
  });
});
