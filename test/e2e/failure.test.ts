/**
 * What happens when the appliance fails: killed, stopped, flooded, its rules taken away; in both fail modes. `open` lets
 * new connections pass, `closed` drops them; what was decided before stays decided in both.
 */
import t, { type Test } from "tap";
import type { Appliance } from "../../scripts/world/appliance.ts";
import { CATCH_ALL } from "../../scripts/world/appliance.ts";
import type { LabContainer } from "../../scripts/world/engine.ts";
import { INTERNET } from "../../scripts/world/network.ts";
import { until } from "../../scripts/world/process.ts";
import type { World } from "../../scripts/world/world.ts";
import type { RuleFile } from "../../src/policy/schema.ts";
import { inLab, startAppliance } from "./lab.ts";

const QUEUE_LENGTH = 64;
const GUARDED: RuleFile = {
  name: "guarded",
  scope: { containers: ["guarded"] },
  network: { effect: "prevent", outboundAddresses: { denied: [INTERNET.denied, INTERNET.denied6] } },
};

/** From one port, so that all lookups are one flow to the kernel. */
const OLD_FLOW = ["TXT", "-b", "0.0.0.0#40053", `@${INTERNET.publicResolver}`] as const;

/** An open TCP session and how many replies it has had. */
function session(container: LabContainer, address: string): { replies(): number; end(): void } {
  const child = container.start(["node", "/programs/session.mts", address, "7"]);
  let replies = 0;
  child.stdout?.on("data", (chunk: Buffer) => {
    replies += chunk.toString().split("echo ").length - 1;
  });
  return { replies: () => replies, end: () => child.kill("SIGKILL") };
}

async function proveFailMode(t: Test, world: World, mode: "open" | "closed"): Promise<void> {
  const appliance = await startAppliance(t, world, `fail-${mode}`, {
    settings: {
      failMode: mode,
      network: { queueLength: QUEUE_LENGTH, connectionRate: 10_000, connectionBurst: 10_000 },
    },
    rules: [GUARDED, CATCH_ALL],
  });
  const container = await world.engine.run("guarded");
  const flooder = await world.engine.run("flooder");
  const outcome = mode === "open" ? "answered" : "silent";
  const enforced = async (): Promise<boolean> =>
    (await container.fetch(INTERNET.denied, 80, 500)) === "silent" &&
    (await container.fetch(INTERNET.good, 80)) === "answered";
  t.ok(await enforced(), "to begin with, policy is enforced");

  await t.test("killed", async (t) => {
    const talk = session(container, INTERNET.other);
    await until("replies come", () => talk.replies() > 2);
    await appliance.signal("SIGKILL");
    const replies = talk.replies();
    await until("the open session goes on", () => talk.replies() > replies + 10);
    for (const address of [INTERNET.good, INTERNET.good6, INTERNET.denied]) {
      t.equal(await container.fetch(address, 80, 700), outcome, `new connection to ${address}`);
    }
    if (mode === "open") {
      await until("lookups find their way without it", async () => {
        return (await container.lookup("good.example", "+time=1"))[0] === INTERNET.good;
      });
      const answer = await container.lookup("whoami.example", ...OLD_FLOW);
      t.strictSame(answer, [`"${INTERNET.publicResolver}"`], "to where they were sent");
    } else {
      t.strictSame(await container.lookup("good.example", "+time=1"), [], "nor are lookups answered");
    }
    await appliance.start();
    const more = talk.replies();
    await until("and survives the next start", () => talk.replies() > more + 10);
    talk.end();
    t.ok(await enforced(), "policy is enforced again");
    const answer = await container.lookup("whoami.example", "TXT", `@${INTERNET.publicResolver}`);
    t.strictSame(answer, [`"${INTERNET.resolver}"`], "and lookups are redirected again");
    const old = await container.lookup("whoami.example", ...OLD_FLOW);
    t.strictSame(old, [`"${INTERNET.resolver}"`], "those of a flow that began without it, too");
  });

  await t.test("stopped, its queue overflowing", async (t) => {
    await appliance.signal("SIGSTOP");
    try {
      await flooder.exec(["node", "/programs/flood.mts", INTERNET.silent, String(QUEUE_LENGTH * 8)]);
      t.equal(await container.fetch(INTERNET.good, 80, 2500), outcome, "new connection");
    } finally {
      await appliance.signal("SIGCONT");
    }
    await until("policy is enforced again", enforced);
    const { queue } = await appliance.status();
    if (mode === "closed") t.ok(queue.overflow > 0, "and the overflow is counted");
  });

  await t.test("rules flushed", async (t) => {
    for (const [index, command] of ["iptables", "ip6tables"].entries()) {
      await world.host.run(command, ["-t", "mangle", "-F"]);
      await until("the rules are back", async () => {
        const rules = await world.host.run(command, ["-t", "mangle", "-S", "PREROUTING"]);
        return rules.stdout.includes("docker0");
      });
      await until("policy is enforced again", enforced);
      await until("an audit tells of it", async () => {
        const audits = await appliance.audits();
        const told = audits.filter((audit) => audit.attackType === "rulesetChanged");
        return told.reduce((sum, audit) => sum + audit.count, 0) > index;
      });
    }
    const before = (await appliance.audits()).length;
    await world.host.run("iptables", ["-t", "nat", "-F", "PREROUTING"]);
    await until("lookups are redirected again", async () => {
      const answer = await container.lookup("whoami.example", "TXT", `@${INTERNET.publicResolver}`);
      return answer[0]?.includes(INTERNET.resolver);
    });
    t.ok((await appliance.audits()).length >= before);
  });
  await end(appliance, container, flooder);
}

async function end(appliance: Appliance, ...containers: readonly LabContainer[]): Promise<void> {
  await appliance.stop();
  for (const container of containers) await container.remove();
}

await inLab(t, async (world) => {
  await t.test("fail mode open", (t) => proveFailMode(t, world, "open"));
  await t.test("fail mode closed", (t) => proveFailMode(t, world, "closed"));

  await t.test("one container's flood hurts no other, and is told", async (t) => {
    const appliance = await startAppliance(t, world, "flood", {
      settings: { network: { connectionRate: 50, connectionBurst: 100 } },
      rules: [GUARDED, CATCH_ALL],
    });
    const flooder = await world.engine.run("flooder");
    const guarded = await world.engine.run("guarded");
    const flood = flooder.start(["node", "/programs/flood.mts", INTERNET.silent, "1000000"]);
    await until("the rate guard works", async () => (await appliance.status()).queue.rateGuard > 1000);
    for (let attempt = 0; attempt < 10; attempt++) {
      t.equal(await guarded.fetch(INTERNET.good), "answered", "meanwhile, another container");
    }
    t.equal(await guarded.fetch(INTERNET.denied, 80, 500), "silent", "which is judged as ever");
    flood.kill("SIGKILL");
    const audit = await appliance.audit("the flood", (audit) => audit.attackType === "connectionFlood");
    t.equal(audit.container?.name, "flooder");
    t.ok(audit.count > 100, `${audit.count} connections`);
    await end(appliance, flooder, guarded);
  });
});
