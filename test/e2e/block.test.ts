/** The hardest effect, end to end: the packet dropped, the container cut off in milliseconds, stopped, and kept down. */
import t from "tap";
import { CATCH_ALL } from "../../scripts/world/appliance.ts";
import { type SeenPacket, UDP } from "../../scripts/world/capture.ts";
import type { LabContainer } from "../../scripts/world/engine.ts";
import { INTERNET } from "../../scripts/world/network.ts";
import { until } from "../../scripts/world/process.ts";
import type { World } from "../../scripts/world/world.ts";
import type { EvidenceReport, IncidentReport } from "../../src/control/types.ts";
import type { RuleFile } from "../../src/policy/schema.ts";
import { inLab, startAppliance } from "./lab.ts";

/** Port of the traffic that is allowed until the container is cut off. */
const NOISE = 9;
/** Milliseconds, by the kernel's stamps on the captured packets. */
const SILENT_WITHIN = 50;
const STOPPED_WITHIN = 2000;

const BLOCKING: RuleFile = {
  name: "blocking",
  scope: { containers: ["blocked*"] },
  dns: { effect: "alert", denied: ["denied.example"], deniedEffect: "block" },
  network: { effect: "alert", outboundAddresses: { denied: [INTERNET.denied], deniedEffect: "block" } },
};

/** A container that talks without end, hears no SIGTERM, and is to be restarted whenever it ends. */
const STUBBORN = {
  options: ["--restart", "always"],
  command: ["node", "/programs/talker.mts", INTERNET.good, String(NOISE)],
};

interface Measured {
  /** Packets of the denied flow at the server. */
  readonly leaked: readonly SeenPacket[];
  /** Milliseconds from the denied packet, at the container's link, to the last of the container's other traffic. */
  readonly silent: number;
  /** The same to the end of its first process, as Docker tells it. */
  readonly stopped: number;
}

function isNoise(packet: SeenPacket): boolean {
  return packet.protocol === UDP && packet.destination === INTERNET.good && packet.destinationPort === NOISE;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}

/** Lets a talking container open a denied connection and watches, on both sides of the host, how it ends. */
async function measureBlock(world: World, container: LabContainer): Promise<Measured> {
  const outside = await world.captureInternet();
  const inside = await world.captureContainer(container);
  await until("the container talks", () => outside.packets().filter(isNoise).length > 20);
  // Ended from outside by the block; how `docker exec` takes that does not matter.
  const denied = container.exec(["node", "/programs/fetch.mts", INTERNET.denied, "80", "3000"]);
  await until(
    "the container does not run any more",
    async () => (await container.inspect("{{.State.Running}}")) === "false",
  );
  const stoppedAt = Date.parse(await container.inspect("{{.State.FinishedAt}}"));
  await denied;
  const packets = await outside.settled();
  const trigger = inside
    .packets()
    .find((packet) => packet.destination === INTERNET.denied && packet.source === container.address);
  await Promise.all([outside.stop(), inside.stop()]);
  if (trigger === undefined) throw new Error("the denied packet was not seen");
  const last = Math.max(...packets.filter(isNoise).map((packet) => packet.time));
  return {
    leaked: packets.filter((packet) => packet.destination === INTERNET.denied),
    silent: Math.max(0, last - trigger.time),
    stopped: stoppedAt - trigger.time,
  };
}

await inLab(t, async (world) => {
  const appliance = await startAppliance(t, world, "block", { rules: [BLOCKING, CATCH_ALL] });
  await world.engine.run("bystander");

  await t.test("a denied connection stops a stubborn container for good", async (t) => {
    // Of three: one stall of a shared machine is no property of the appliance. They have one name, as a container has that is
    // made anew.
    const measured: Measured[] = [];
    for (let round = 0; round < 3; round++) {
      const container = await world.engine.run("blocked-stubborn", STUBBORN);
      const { leaked, ...times } = await measureBlock(world, container);
      t.strictSame(leaked, [], "no packet of the denied flow reached the server");
      t.comment(`silent after ${times.silent.toFixed(1)} ms, stopped after ${times.stopped.toFixed(0)} ms`);
      measured.push({ leaked, ...times });
    }
    t.ok(median(measured.map(({ silent }) => silent)) < SILENT_WITHIN, "its other traffic is silent");
    t.ok(median(measured.map(({ stopped }) => stopped)) < STOPPED_WITHIN, "and it is stopped");

    const container = await world.engine.container("blocked-stubborn");
    const running = async (): Promise<boolean> => (await container.inspect("{{.State.Running}}")) === "true";
    const audit = await appliance.audit(
      "the block",
      (audit) => audit.effect === "block" && audit.container?.id === container.id,
    );
    t.match(audit, { attackType: "explicitlyDeniedIP", rule: "blocking" });
    const report = await until("it is told as blocked", async () =>
      (await appliance.containers()).find(({ id, state }) => id === container.id && state === "blocked"),
    );
    t.equal(report.name, "blocked-stubborn");
    t.ok((await appliance.status()).containers.blocked.some(({ id }) => id === container.id));
    t.notOk(await running(), "nothing brought it back");
    t.equal(await container.inspect("{{.State.Status}}"), "exited");

    await world.engine.restart();
    await until("the appliance is connected again", async () => {
      return (await appliance.status()).docker.state === "connected";
    });
    t.notOk(await running(), "a restart of dockerd does not bring it back");

    const outcome = await appliance.cli("unblock", "blocked-stubborn");
    t.equal(outcome.status, 0, outcome.stderr);
    await until("it runs again", running);
    t.equal(
      await container.inspect("{{.HostConfig.RestartPolicy.Name}}"),
      "always",
      "with its restart policy",
    );
    const again = await world.captureInternet();
    await until("it talks again", () => again.packets().some(isNoise));
    await again.stop();
    await container.remove();
  });

  await t.test("a denied lookup stops its container, and no other", async (t) => {
    const container = await world.engine.run("blocked-lookup");
    t.strictSame(await container.lookup("denied.example", "+time=1"), []);
    await until("it is stopped", async () => (await container.inspect("{{.State.Running}}")) === "false");
    await appliance.audit(
      "the lookup",
      (audit) => audit.attackType === "explicitlyDeniedDNS" && audit.effect === "block",
    );
    const evidence = await until("its evidence", async () => {
      const { status, stdout } = await appliance.cli("evidence", "blocked-lookup", "--json");
      return status === 0 ? (JSON.parse(stdout) as EvidenceReport) : undefined;
    });
    t.match(evidence, { action: "stop", result: "killed", complete: true, container: { id: container.id } });
    t.ok(evidence.recorder.some(({ message }) => message.includes("denied.example")));
    t.match(evidence.processes[0], { pid: container.pid, innerPid: 1, commandLine: "sleep 100000" });
    t.ok(
      evidence.interfaces.some(({ addresses }) => addresses.some((one) => one.startsWith(container.address))),
    );
    const incidents = (await appliance.cli("incidents", "list", "--json")).stdout.trim().split("\n");
    const { id } = incidents
      .map((line) => JSON.parse(line) as IncidentReport)
      .find((one) => one.kind === "blockedContainer" && one.container.id === container.id) ?? { id: "none" };
    const shown = await appliance.cli("incidents", "show", id, "--json");
    t.strictSame(
      (JSON.parse(shown.stdout) as IncidentReport).evidence,
      [evidence.id],
      "its incident leads there",
    );
    const bystander = await world.engine.container("bystander");
    t.equal(await bystander.fetch(INTERNET.good), "answered", "the bystander is not touched");
  });

  await t.test("a blocked container that somebody starts again is stopped again", async (t) => {
    await world.engine.docker(["start", "blocked-lookup"], { anyStatus: true });
    await until(
      "it is stopped",
      async () =>
        (await (await world.engine.container("blocked-lookup")).inspect("{{.State.Running}}")) === "false",
    );
    t.ok((await appliance.status()).containers.blocked.some(({ name }) => name === "blocked-lookup"));
  });

  await t.test("a block outlives the daemon", async (t) => {
    await appliance.stop();
    await appliance.start();
    t.ok((await appliance.status()).containers.blocked.some(({ name }) => name === "blocked-lookup"));
    t.equal((await appliance.cli("unblock", "blocked-lookup")).status, 0);
    t.equal(
      (await appliance.cli("unblock", "blocked-lookup")).status,
      1,
      "there is nothing to undo any more",
    );
    await until("it runs again", async () => {
      return (
        (await (await world.engine.container("blocked-lookup")).inspect("{{.State.Running}}")) === "true"
      );
    });
    const back = await world.engine.container("blocked-lookup");
    await until("it may talk again", async () => (await back.fetch(INTERNET.good)) === "answered");
  });

  await t.test(
    "the breaker keeps half of an image's containers alive, until an operator says so",
    async (t) => {
      const [first, second] = [
        await world.engine.run("blocked-replica-1"),
        await world.engine.run("blocked-replica-2"),
      ];
      appliance.writeSettings({ block: { breaker: { share: 30 } } });
      await appliance.stop();
      await appliance.start();
      const isRunning = async (container: LabContainer): Promise<boolean> =>
        (await container.inspect("{{.State.Running}}")) === "true";
      await first.lookup("denied.example", "+time=1");
      await until("the first is stopped", async () => !(await isRunning(first)));

      t.strictSame(await second.lookup("denied.example", "+time=1"), [], "the lookup gets no answer");
      const audit = await appliance.audit(
        "the second is spared",
        ({ container, effect }) => container?.id === second.id && effect === "prevent",
      );
      t.match(audit, { attackType: "explicitlyDeniedDNS", rule: "blocking" });
      t.match(audit.reasons.at(-1), {
        kind: "breaker",
        message: /^1 of the \d containers of its image is stopped/,
      });
      t.ok(await isRunning(second));
      await until("it may talk", async () => (await second.fetch(INTERNET.good)) === "answered");
      t.match((await appliance.status()).block, { refused: Number, spared: [{ id: second.id }] });
      const listed = await appliance.cli("incidents", "list", "--json");
      const incident = listed.stdout
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as { readonly id: string; readonly kind: string })
        .find(({ kind }) => kind === "circuitBreaker");
      if (incident === undefined) throw new Error(`no incident of the breaker: ${listed.stdout}`);

      t.equal((await appliance.cli("incidents", "close", incident.id, "--note", "a real one")).status, 0);
      await second.lookup("denied.example", "+time=1");
      await until("the second is stopped too", async () => !(await isRunning(second)));
      for (const container of [first, second]) await container.remove();
    },
  );

  await t.test("isolated instead: silent and alive, also while the appliance is away", async (t) => {
    appliance.writeSettings({ block: { action: "isolate" } });
    await appliance.stop();
    await appliance.start();
    const container = await world.engine.run("blocked-isolated", STUBBORN);
    const outside = await world.captureInternet();
    await until("the container talks", () => outside.packets().filter(isNoise).length > 20);
    await container.exec(["node", "/programs/once.mts", INTERNET.denied, "7", "1000"]).catch(() => undefined);
    await until("it is isolated", async () =>
      (await appliance.status()).containers.blocked.some(
        ({ id, action }) => id === container.id && action === "isolate",
      ),
    );
    await until(
      "and does not get out",
      async () => (await container.fetch(INTERNET.good, 80, 2500)) !== "answered",
    );
    const before = (await outside.settled()).filter(isNoise).length;
    await appliance.stop();
    t.not(await container.fetch(INTERNET.good, 80, 2500), "answered", "in open mode, without the daemon");
    await appliance.start();
    t.not(await container.fetch(INTERNET.good, 80, 2500), "answered", "and with it again");
    t.equal(outside.packets().filter(isNoise).length, before, "nothing of it has passed");
    await outside.stop();
    t.equal(await container.inspect("{{.State.Running}}"), "true");
    t.equal(Number(await container.inspect("{{.State.Pid}}")), container.pid, "the same process");
    t.equal((await appliance.cli("unblock", "blocked-isolated")).status, 0);
    const again = await world.captureInternet();
    await until("it talks again", () => again.packets().some(isNoise));
    await again.stop();
    await container.remove();
  });

  await t.test("paused instead, where the appliance is told so", async (t) => {
    appliance.writeSettings({ block: { action: "pause" } });
    await appliance.stop();
    await appliance.start();
    const container = await world.engine.run("blocked-paused", STUBBORN);
    const denied = container.exec(["node", "/programs/once.mts", INTERNET.denied, "7", "5000"]);
    await until("it is paused", async () => (await container.inspect("{{.State.Status}}")) === "paused");
    t.equal((await appliance.cli("unblock", "blocked-paused")).status, 0);
    t.equal(await container.inspect("{{.State.Status}}"), "running");
    await denied;
    await container.remove();
  });
});
