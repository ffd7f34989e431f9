/** New connections of real containers, end to end: decided once, on their way out, by who really sends them. */
import t from "tap";
import { CATCH_ALL } from "../../scripts/world/appliance.ts";
import { TCP, UDP } from "../../scripts/world/capture.ts";
import type { LabContainer } from "../../scripts/world/engine.ts";
import { HOST, INTERNET } from "../../scripts/world/network.ts";
import { until } from "../../scripts/world/process.ts";
import type { RuleFile } from "../../src/policy/schema.ts";
import { inLab, startAppliance } from "./lab.ts";

const NEIGHBOUR = "172.31.0.50";
const REUSED = "172.31.0.60";
/** An address that is nobody's, as a cluster's services have: the host leads it elsewhere. */
const SERVICE = "198.51.100.77";

const GUARDED: RuleFile = {
  name: "guarded",
  scope: { containers: ["guarded*"] },
  dns: { effect: "alert" },
  network: {
    effect: "prevent",
    outboundAddresses: {
      denied: [`${INTERNET.denied}/32`, INTERNET.denied6, HOST.bridgeAddress, HOST.address, NEIGHBOUR],
    },
    outboundPorts: { allowed: ["1-65535"], denied: [8080] },
    intelligence: "prevent",
  },
};

const WATCHED: RuleFile = {
  name: "watched",
  scope: { containers: ["watched*"] },
  dns: { effect: "alert" },
  network: { effect: "alert", outboundAddresses: { denied: [SERVICE] } },
};

/** What the container's `session.mts` printed so far. */
function session(
  container: LabContainer,
  address: string,
): { text(): string; replies(): number; end(): void } {
  const child = container.start(["node", "/programs/session.mts", address, "7"]);
  let text = "";
  child.stdout?.on("data", (chunk: Buffer) => {
    text += chunk.toString();
  });
  return {
    text: () => text,
    replies: () => Number(/echo (\d+)\n(?!.*echo)/s.exec(text)?.[1] ?? 0),
    end: () => child.kill("SIGKILL"),
  };
}

await inLab(t, async (world) => {
  const appliance = await startAppliance(t, world, "connections", {
    rules: [GUARDED, WATCHED, CATCH_ALL],
    listedAddresses: [INTERNET.evil, INTERNET.evil6],
  });
  const free = await world.engine.run("free");
  const guarded = await world.engine.run("guarded");

  await t.test("what nothing speaks against passes", async (t) => {
    t.equal(await free.fetch(INTERNET.denied), "answered");
    t.equal(await guarded.fetch(INTERNET.good), "answered");
    t.equal(await guarded.fetch(INTERNET.good6), "answered");
    t.ok(await guarded.echoes(INTERNET.other));
    t.equal(await guarded.fetch(INTERNET.good, 81), "ECONNREFUSED", "a closed port is the server's answer");
  });

  await t.test("a denied address, over both families and TCP, UDP and ICMP", async (t) => {
    const capture = await world.captureInternet();
    t.strictSame(await guarded.lookup("denied.example"), [INTERNET.denied]);
    t.strictSame(await guarded.lookup("denied.example", "AAAA"), [INTERNET.denied6]);
    for (const address of [INTERNET.denied, INTERNET.denied6]) {
      t.not(await guarded.fetch(address, 80, 700), "answered", `TCP ${address}`);
      t.notOk(await guarded.echoes(address, 7, 700), `UDP ${address}`);
      const ping = await guarded.exec(["ping", "-c", "1", "-W", "1", address]);
      t.not(ping.status, 0, `ICMP ${address}`);
    }
    const packets = await capture.settled();
    await capture.stop();
    const denied: readonly string[] = [INTERNET.denied, INTERNET.denied6];
    t.strictSame(
      packets.filter((packet) => denied.includes(packet.destination)),
      [],
      "no packet of them left the host",
    );
    for (const [address, protocol] of [
      [INTERNET.denied, "tcp"],
      [INTERNET.denied, "udp"],
      [INTERNET.denied, "icmp"],
      [INTERNET.denied6, "tcp"],
      [INTERNET.denied6, "udp"],
      [INTERNET.denied6, "icmpv6"],
    ]) {
      const audit = await appliance.audit(
        `${protocol} to ${address}`,
        ({ connection }) => connection?.destination === address && connection?.protocol === protocol,
      );
      t.match(audit, { attackType: "explicitlyDeniedIP", effect: "prevent", rule: "guarded" });
      t.equal(audit.container?.id, guarded.id);
      t.strictSame(audit.connection?.names, ["denied.example"], "with the name it was resolved from");
    }
  });

  await t.test("a listed address and a denied port", async (t) => {
    for (const address of [INTERNET.evil, INTERNET.evil6]) {
      t.not(await guarded.fetch(address, 80, 700), "answered");
      const audit = await appliance.audit(
        `feed hit ${address}`,
        (audit) => audit.connection?.destination === address,
      );
      t.equal(audit.attackType, "feedIP");
    }
    t.not(await guarded.fetch(INTERNET.good, 8080, 700), "answered");
    await appliance.audit("denied port", (audit) => audit.attackType === "explicitlyDeniedOutboundPort");
    t.equal(await free.fetch(INTERNET.good, 8080), "answered");
  });

  await t.test("why tells what would become of a connection, and which is a lookup", async (t) => {
    const why = (target: string) => appliance.cli("why", "guarded", target);
    t.match(await why(`${INTERNET.denied}:80`), { status: 1, stdout: /explicitlyDeniedIP/ });
    t.match(
      await why(`::ffff:${INTERNET.denied}`),
      { status: 1, stdout: /explicitlyDeniedIP/ },
      "IPv4, mapped",
    );
    t.match(await why(`${INTERNET.denied}:53/udp`), { status: 0, stdout: /ends at the DNS\s+proxy/ });
    t.strictSame(await guarded.lookup("good.example", `@${INTERNET.denied}`), [INTERNET.good], "as it does");
    t.match(await why(`${INTERNET.denied}:53/sctp`), { status: 1 });
  });

  await t.test("to the host itself", async (t) => {
    const program = new URL("../../scripts/world/programs/echo.mts", import.meta.url).pathname;
    const log = `${world.directory}/host-echo.log`;
    const echo = world.host.start(process.execPath, [program, "7", HOST.bridgeAddress, HOST.address], log);
    try {
      for (const address of [HOST.bridgeAddress, HOST.address]) {
        await until("the host's echo server answers", () => free.echoes(address, 7, 500));
        t.notOk(await guarded.echoes(address, 7, 700), address);
        await appliance.audit(`denied ${address}`, (audit) => audit.connection?.destination === address);
      }
    } finally {
      echo.kill("SIGKILL");
    }
  });

  await t.test(
    "a translated destination: judged as it was asked for, told with where it leads",
    async (t) => {
      const watched = await world.engine.run("watched");
      const to = `${INTERNET.denied}:7`;
      const rule = `-d ${SERVICE} -p udp --dport 8181 -j DNAT --to-destination ${to}`.split(" ");
      await world.host.run("iptables", ["-t", "nat", "-I", "PREROUTING", ...rule]);
      try {
        t.ok(await guarded.echoes(SERVICE, 8181), "denied is where it leads to, and that was not asked for");
        t.ok(await watched.echoes(SERVICE, 8181));
        const audit = await appliance.audit("the alert", ({ container }) => container?.name === watched.name);
        t.match(audit.connection, { destination: SERVICE, port: 8181 });
        t.match(audit.message, `(the host leads it to ${to})`);
      } finally {
        await world.host.run("iptables", ["-t", "nat", "-D", "PREROUTING", ...rule]);
      }
      await watched.remove();
    },
  );

  await t.test("between containers of one bridge", async (t) => {
    await world.engine.run("neighbour", {
      options: ["--network", HOST.network, "--ip", NEIGHBOUR],
      command: ["node", "/programs/echo.mts", "7", NEIGHBOUR],
    });
    const free = await world.engine.run("free-too", { options: ["--network", HOST.network] });
    const guarded = await world.engine.run("guarded-too", { options: ["--network", HOST.network] });
    await until("the neighbour answers", () => free.echoes(NEIGHBOUR, 7, 500));
    t.notOk(await guarded.echoes(NEIGHBOUR, 7, 700));
    const audit = await appliance.audit("neighbour", (audit) => audit.connection?.destination === NEIGHBOUR);
    t.equal(audit.container?.name, "guarded-too");
    t.equal(audit.connection?.source, guarded.address);
  });

  await t.test("a spoofed source address is found, and told with who did it", async (t) => {
    const capture = await world.captureInternet();
    // The address is the free container's, which may talk to the denied server.
    await guarded.exec([
      "hping3",
      "-q",
      "-c",
      "3",
      "-i",
      "u20000",
      "-S",
      "-p",
      "80",
      "-a",
      free.address,
      INTERNET.denied,
    ]);
    const audit = await appliance.audit("spoofed source", (audit) => audit.attackType === "spoofedSource");
    t.equal(audit.container?.id, guarded.id, "the veth tells, not the address");
    t.equal(audit.connection?.source, free.address);
    const packets = await capture.settled();
    await capture.stop();
    t.strictSame(
      packets.filter((packet) => packet.destination === INTERNET.denied),
      [],
      "and gained nothing by it",
    );
  });

  await t.test("a reused address inherits nothing", async (t) => {
    const options = ["--network", HOST.network, "--ip", REUSED];
    const first = await world.engine.run("free-first", { options });
    const flow = ["node", "/programs/once.mts", INTERNET.denied, "7", "1000", "5555"];
    t.equal((await first.exec(flow)).status, 0, "the first may");
    t.strictSame(await first.lookup("denied.example"), [INTERNET.denied]);
    await first.remove();
    const second = await world.engine.run("guarded-second", { options });
    t.equal(second.address, first.address);
    t.not((await second.exec(flow)).status, 0, "the same flow of the second is denied");
    const audit = await appliance.audit("second", (audit) => audit.container?.name === "guarded-second");
    t.strictSame(audit.connection?.names, [], "and knows no name: it resolved none");
  });

  await t.test("a reload changes verdicts at once, for flows that are open too", async (t) => {
    const talk = session(free, INTERNET.other);
    await until("replies come", () => talk.replies() > 2);
    const capture = await world.captureInternet();
    const denyOther: RuleFile = {
      name: "free",
      scope: { containers: ["free"] },
      network: { effect: "prevent", outboundAddresses: { denied: [INTERNET.other] } },
    };
    await appliance.reload([GUARDED, denyOther, CATCH_ALL]);
    const reloaded = Date.now();
    t.not(await free.fetch(INTERNET.other, 80, 700), "answered", "a new flow is denied");
    const packets = await capture.settled();
    await capture.stop();
    t.strictSame(
      packets.filter(
        (packet) =>
          packet.destination === INTERNET.other && packet.protocol === TCP && packet.time > reloaded,
      ),
      [],
      "the open flow is silent since the reload was acknowledged",
    );
    talk.end();
    await appliance.reload([GUARDED, CATCH_ALL]);
    t.equal(await free.fetch(INTERNET.other), "answered", "allowed again");
    t.equal(await guarded.fetch(INTERNET.good), "answered", "and what was open before stays so");
  });

  await t.test("a policy with a mistake changes nothing", async (t) => {
    appliance.writePolicy([
      { name: "broken", network: { effect: "prevent", outboundPorts: { denied: ["nonsense"] } } },
    ]);
    const output = await appliance.cli("policy", "reload");
    t.equal(output.status, 2);
    t.match(output.stderr, /nonsense/);
    t.not(await guarded.fetch(INTERNET.denied, 80, 700), "answered", "the running policy still denies");
    t.match((await appliance.status()).policy.lastError?.message, /nonsense/);
  });

  await t.test("a decided flow does not enter user space again", async (t) => {
    const before = (await appliance.status()).packets.packets;
    const talk = session(free, INTERNET.good);
    await until("packets were exchanged", () => talk.replies() > 20);
    talk.end();
    const after = (await appliance.status()).packets.packets;
    t.ok(after - before >= 1 && after - before < 5, `${after - before} decisions for one flow`);
  });

  await t.test("a container started this moment is decided, never passed unseen", async (t) => {
    const capture = await world.captureInternet();
    const eager = await world.engine.run("guarded-eager", {
      command: ["node", "/programs/talker.mts", INTERNET.denied, "9"],
    });
    await appliance.audit("eager", (audit) => audit.container?.id === eager.id);
    const packets = await capture.settled();
    await capture.stop();
    t.strictSame(
      packets.filter((packet) => packet.destination === INTERNET.denied && packet.protocol === UDP),
      [],
    );
    await eager.remove();
  });
});
