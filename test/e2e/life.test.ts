/** The appliance's own life, end to end: what it leaves in the kernel, what it keeps, and what it survives. */
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { Appliance, CATCH_ALL } from "../../scripts/world/appliance.ts";
import { HOST, INTERNET } from "../../scripts/world/network.ts";
import { until } from "../../scripts/world/process.ts";
import type { World } from "../../scripts/world/world.ts";
import type { RuleFile } from "../../src/policy/schema.ts";
import { inLab, startAppliance } from "./lab.ts";

const GUARDED: RuleFile = {
  name: "guarded",
  scope: { containers: ["guarded*"] },
  dns: { effect: "prevent", denied: [".burst.example"] },
  network: { effect: "prevent", outboundAddresses: { denied: [INTERNET.denied] } },
};
const BURST = 10_000;

/**
 * The host's rules and the sets there are. Without counters, comments and the random seeds of sets; and without tables that
 * hold nothing, which iptables leaves behind when the last rule goes.
 */
async function kernelState(world: World): Promise<string> {
  const tables: string[] = [];
  for (const command of ["iptables-save", "ip6tables-save"]) {
    const { stdout } = await world.host.run(command, []);
    for (const [table, body = ""] of stdout.matchAll(/^\*\w+\n(.*?)^COMMIT$/gms)) {
      const holds = body.split("\n").some((line) => line !== "" && !/^:[A-Z]+ ACCEPT /.test(line));
      if (holds) tables.push(`${command}\n${table.replaceAll(/\[\d+:\d+\]/g, "")}`);
    }
  }
  const sets = (await world.host.run("ipset", ["save"])).stdout
    .split("\n")
    .filter((line) => line.startsWith("create "))
    .map((line) => line.replace(/ initval \S+/, ""));
  return [...tables, ...sets.sort()].join("\n");
}

await inLab(t, async (world) => {
  // What belongs to others.
  await world.host.run("iptables", ["-t", "mangle", "-A", "PREROUTING", "-i", "eth9", "-j", "RETURN"]);
  await world.host.run("ipset", ["create", "somebody-else", "hash:ip"]);

  await t.test("nothing of it is left in the kernel", async (t) => {
    const before = await kernelState(world);
    const appliance = await startAppliance(t, world, "clean", { rules: [GUARDED, CATCH_ALL] });
    const installed = await kernelState(world);
    const guarded = await world.engine.run("guarded");
    t.not(installed, before);
    t.equal(await guarded.fetch(INTERNET.denied, 80, 500), "silent");

    await appliance.signal("SIGKILL");
    await appliance.start();
    t.equal(await kernelState(world), installed, "a second start installs the same and no more");
    t.equal(await guarded.fetch(INTERNET.denied, 80, 500), "silent");

    await guarded.remove();
    await appliance.stop();
    t.equal(await kernelState(world), before, "an orderly end takes everything away");
  });

  await t.test("ten thousand findings at once, none lost that was accepted", async (t) => {
    const appliance = await startAppliance(t, world, "burst", {
      settings: { dns: { rate: 400_000 } },
      rules: [GUARDED, CATCH_ALL],
    });
    const guarded = await world.engine.run("guarded");
    const output = await guarded.exec([
      "node",
      "/programs/lookups.mts",
      INTERNET.resolver,
      String(BURST),
      "burst.example",
      "500",
    ]);
    t.same(JSON.parse(output.stdout), { sent: BURST, answered: 0 });
    const status = await until("all are decided", async () => {
      const status = await appliance.status();
      return status.dns.prevented >= BURST ? status : undefined;
    });
    t.equal(status.dns.prevented, BURST);
    t.equal(status.dropped.findings, 0, "none lost on the way to the log");
    // The end that hurts: whatever was accepted has to be on the disk.
    await until("all are accepted", async () => {
      const { audits } = await appliance.status();
      return audits.accepted + audits.folded + audits.dropped >= BURST && audits.waiting === 0;
    });
    const { audits } = await appliance.status();
    await appliance.signal("SIGKILL");
    await appliance.start();
    const burst = (await appliance.audits()).filter((audit) => audit.dns?.name.endsWith(".burst.example"));
    t.equal(
      burst.reduce((sum, audit) => sum + audit.count, 0),
      BURST - audits.dropped,
    );
    t.equal(
      new Set(burst.map((audit) => audit.dns?.name)).size,
      BURST - audits.dropped,
      "each with its name",
    );
    t.equal(audits.dropped, 0);
    await guarded.remove();
    await appliance.stop();
  });

  await t.test("a model learns, is kept across a restart, and then judges", async (t) => {
    const strict: RuleFile = { name: "learned", dns: { effect: "prevent" }, network: { effect: "prevent" } };
    const appliance = await startAppliance(t, world, "model", {
      settings: { models: { learningTime: "12s", trialTime: "0s" } },
      rules: [strict],
    });
    const container = await world.engine.run("learner", { image: "lab/tools:2" });
    t.strictSame(await container.lookup("good.example"), [INTERNET.good]);
    t.equal(await container.fetch(INTERNET.good), "answered");
    t.strictSame(
      await container.lookup("nothing.example", "+time=1"),
      [],
      "a name without an answer is not learned",
    );
    const learning = await until("the model has learned", async () =>
      (await appliance.models()).find((model) => model.names === 1 && model.outboundPorts === 1),
    );
    t.equal(learning.state, "learning");
    t.match(learning.image, "lab/tools:2");
    await appliance.stop();
    await appliance.start();
    const kept = (await appliance.models()).find((model) => model.key === learning.key);
    t.match(kept, { names: 1, outboundPorts: 1 }, "it is kept");
    await until(
      "the model is active",
      async () => (await appliance.models()).find((model) => model.key === learning.key)?.state === "active",
      30_000,
    );
    t.strictSame(await container.lookup("good.example"), [INTERNET.good], "what was learned passes");
    t.equal(await container.fetch(INTERNET.good), "answered");
    t.strictSame(await container.lookup("other.example", "+time=1"), [], "what was not does not");
    t.not(await container.fetch(INTERNET.other, 8080, 500), "answered");
    const name = await appliance.audit("unexpected name", (audit) => audit.attackType === "unexpectedDNS");
    t.equal(name.dns?.name, "other.example");
    t.match(name.reasons[0], { kind: "model", state: "active" });
    const port = await appliance.audit(
      "unexpected port",
      (audit) => audit.attackType === "unexpectedOutboundPort",
    );
    t.equal(port.connection?.port, 8080);
    await container.remove();
    await appliance.stop();
  });

  await t.test("told to reload while it starts, it does so afterwards", async (t) => {
    const appliance = Appliance.prepare(world, "early", { rules: [CATCH_ALL] });
    t.teardown(() => appliance.stop());
    const socket = join(appliance.directory, "run", "control.sock");
    const starting = appliance.start();
    await until("the control socket is there", async () => existsSync(socket));
    await appliance.signal("SIGHUP");
    await starting;
    await until("it has reloaded", async () => / in force/.test(appliance.logText()));
    t.notMatch(appliance.logText(), /"level":"(error|fatal)"/);
    await appliance.stop();
  });

  await t.test("dockerd restarted under it, and killed", async (t) => {
    const appliance = await startAppliance(t, world, "docker", { rules: [GUARDED, CATCH_ALL] });
    const before = await world.engine.run("guarded-before");
    for (const signal of ["SIGTERM", "SIGKILL"] as const) {
      await world.engine.restart(signal);
      await until("it is connected again", async () => {
        return (await appliance.status()).docker.state === "connected";
      });
      t.equal(await before.fetch(INTERNET.denied, 80, 500), "silent", `${signal}: who was there is known`);
      t.equal(await before.fetch(INTERNET.good), "answered");
      const after = await world.engine.run("guarded-after", { options: ["--network", HOST.network] });
      t.equal(await after.fetch(INTERNET.denied, 80, 500), "silent", "and so is who came since");
      await after.remove();
    }
    await before.remove();
    await appliance.stop();
  });

  await t.test("no Docker at first: it says so and waits", async (t) => {
    const directory = join(world.directory, "waits");
    const appliance = Appliance.prepare(world, "waits", {
      settings: { docker: { socket: join(directory, "later.sock") } },
      rules: [GUARDED, CATCH_ALL],
    });
    t.teardown(() => appliance.stop());
    await appliance.start("waiting");
    const status = await appliance.status();
    t.match(status.docker, { state: "waiting", socket: join(directory, "later.sock") });
    t.ok(status.docker.error);
    await world.host.run("ln", ["-s", world.engine.socket, join(directory, "later.sock")]);
    await until("it is connected", async () => (await appliance.status()).docker.state === "connected");
    const guarded = await world.engine.run("guarded");
    t.equal(await guarded.fetch(INTERNET.denied, 80, 500), "silent");
    await guarded.remove();
    await appliance.stop();
    rmSync(join(directory, "later.sock"));
  });

  await t.test("what it cannot start with, it says once, with its own exit status", async (t) => {
    const running = await startAppliance(t, world, "first", { rules: [CATCH_ALL] });
    const refused = async (name: string, spoil: (appliance: Appliance) => void): Promise<string> => {
      const appliance = Appliance.prepare(world, name, { rules: [CATCH_ALL] });
      spoil(appliance);
      const output = await appliance.runToEnd();
      t.equal(output.status, 2, name);
      return output.stdout + output.stderr;
    };
    t.match(await refused("port-in-use", () => undefined), /TM_(PORT_IN_USE|NATIVE_QUEUE_TAKEN)/);
    t.match(
      await refused("unknown-key", (appliance) => appliance.writeSettings({ dsn: {}, failMode: "ajar" })),
      /dsn.*failMode|failMode.*dsn/s,
    );
    t.match(
      await refused("no-feeds", (appliance) => rmSync(join(appliance.directory, "feeds.yaml"))),
      /feeds\.yaml/,
    );
    t.match(
      await refused("not-yaml", (appliance) =>
        writeFileSync(join(appliance.directory, "policy.yaml"), "rules: ["),
      ),
      /policy\.yaml:1:/,
    );
    t.equal((await running.status()).docker.state, "connected", "the running one is not disturbed");
    await running.stop();
    t.equal((await running.cli("status")).status, 3, "and when it is gone, that has a status of its own");
  });
});
