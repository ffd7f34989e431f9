/** What happens to traffic while the daemon is full, stopped or dead, in both modes, on real netfilter. */
import t from "tap";
import { Child } from "./child.ts";
import { BAD, GOOD, GOOD6, namespaceRefusal } from "./network.ts";
import { FILE_LIMIT, NEVER, PacketWorld, SOON, until } from "./world.ts";

const refusal = namespaceRefusal();

/** Milliseconds after which an unanswered heartbeat must have let traffic go: its three seconds, and room. */
const HEARTBEAT_OVER = 10_000;

type Tap = Pick<typeof t, "equal">;
const QUEUE_LENGTH = 16;

export function testFailMode(failMode: "open" | "closed"): void {
  t.setTimeout(FILE_LIMIT);
  t.test(`${failMode} mode`, refusal === null ? {} : { skip: refusal }, async (t) => {
    const world = new PacketWorld(failMode, failMode, { queueLength: QUEUE_LENGTH });
    t.teardown(() => world.remove());
    await world.serve();
    const c1 = world.container(2);
    const resolver = new Child(world.network.host, "./peer.ts");
    t.teardown(() => resolver.end());
    await resolver.call("listen", "172.30.0.1", 5303, "proxy:");
    await world.start();
    await world.introduce(2);
    const opened = await c1.call<string>("connect", GOOD, 80, SOON);
    t.match(opened, /^open/);
    const established = Number(opened.slice(5));
    const connect = (address: string) => (): Promise<string> => c1.call("connect", address, 80, NEVER);
    const lookup = (): Promise<string> => c1.call("ask", GOOD, 53, NEVER);

    await t.test("a full queue", async (t) => {
      world.host.signal("SIGSTOP");
      await c1.call("flood", GOOD6, 80, 100);
      const arrived = async (): Promise<number> =>
        (await world.seen()).filter(({ destination }) => destination === GOOD6).length;
      if (failMode === "open") {
        await until("what found no room to pass", arrived, (count) => count >= 100 - QUEUE_LENGTH);
      }
      const counters = world.network.exec("cat", "/proc/net/netfilter/nfnetlink_queue").trim().split(/\s+/);
      const [waiting, dropped] = [Number(counters[2]), Number(counters[5])];
      t.ok(waiting <= QUEUE_LENGTH, `${waiting} wait`);
      if (failMode === "closed") {
        t.equal(waiting + dropped, 100, "the kernel counts what it dropped");
        t.equal(await arrived(), 0);
      }
      world.host.signal("SIGCONT");
      await until(
        "the rest to be decided",
        arrived,
        (count) => count >= (failMode === "open" ? 100 : waiting),
      );
      t.equal(await arrived(), failMode === "open" ? 100 : waiting, "nothing was lost that had a place");
    });

    const fails = async (t: Tap, what: string): Promise<void> => {
      t.equal(await c1.call("echo", established, SOON), "good:ping", "what was established goes on");
      if (failMode === "open") {
        for (const address of [GOOD, GOOD6]) {
          await until(
            `${address} to be reached while the daemon is ${what}`,
            connect(address),
            (said) => said.startsWith("open"),
            HEARTBEAT_OVER,
          );
        }
        await until("lookups to go their own way", lookup, (said) => said === "good:ask", HEARTBEAT_OVER);
      } else {
        const seen = (await world.seen()).length;
        for (const address of [GOOD, GOOD6, "172.30.0.1"]) t.equal(await connect(address)(), "silent");
        await until(
          "the heartbeat to end",
          async () => world.network.exec("ipset", "save", "tm-alive4"),
          (saved) => !saved.includes("add "),
        );
        for (const address of [GOOD, GOOD6, "172.30.0.1"]) t.equal(await connect(address)(), "silent");
        t.equal(await lookup(), "silent");
        t.equal((await world.seen()).length, seen);
      }
    };
    const works = async (t: Tap): Promise<void> => {
      await until("connections to be decided again", connect(GOOD), (said) => said.startsWith("open"));
      await until("lookups to be redirected again", lookup, (said) => said === "proxy:ask");
      t.equal(await connect(BAD)(), "silent");
      t.equal(await c1.call("echo", established, SOON), "good:ping", "what was established goes on");
    };

    await t.test("SIGSTOP", async (t) => {
      world.host.signal("SIGSTOP");
      await fails(t, "stopped");
      world.host.signal("SIGCONT");
      await works(t);
    });

    await t.test("SIGKILL", async (t) => {
      await world.host.call("cut", ["172.30.0.99"]);
      await world.host.end();
      await fails(t, "dead");
      t.match(world.network.exec("ipset", "save", "tm-cut4"), /172\.30\.0\.99/, "who was cut off stays so");
      await world.restart();
      t.notMatch(
        world.network.exec("ipset", "save", "tm-cut4"),
        /172\.30\.0\.99/,
        "until somebody knows who is now",
      );
      await world.introduce(2);
      await works(t);
    });

    await t.test("an orderly end", async (t) => {
      await world.host.call("remove", {});
      await world.host.call("closeHandler");
      t.match(await connect(GOOD)(), failMode === "open" ? /^open/ : /^silent/);
      t.match(await connect(BAD)(), failMode === "open" ? /^open/ : /^silent/);
    });
  });
}
