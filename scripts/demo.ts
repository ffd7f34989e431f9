/**
 * `npm run demo`: the whole story in a sealed lab, in under two minutes. Every step says what is done and what is seen, and
 * fails when it does not see it.
 */
import { Appliance } from "./world/appliance.ts";
import type { LabContainer } from "./world/engine.ts";
import { INTERNET } from "./world/network.ts";
import { until } from "./world/process.ts";
import { raiseWorld, type World, worldRefusal } from "./world/world.ts";

const bold =
  process.stdout.isTTY && process.env.NO_COLOR === undefined
    ? (text: string) => `\x1b[1m${text}\x1b[0m`
    : String;
const begin = performance.now();

let steps = 0;
function step(title: string): void {
  const seconds = ((performance.now() - begin) / 1000).toFixed(0).padStart(3);
  console.log(`\n${bold(`${++steps}. ${title}`)}  [${seconds} s]`);
}
function done(what: string): void {
  console.log(`   $ ${what}`);
}
/** Says what was seen, or ends the demo when it was not. */
function seen(what: string, holds: boolean): void {
  if (!holds) throw new Error(`the demo expected this, and did not see it: ${what}`);
  console.log(`   -> ${what}`);
}

/** A lookup in a container; gives the answers. */
async function lookup(container: LabContainer, name: string): Promise<string[]> {
  done(`docker exec ${container.name} dig +short ${name}`);
  return container.lookup(name, "+time=2");
}

async function fetch(container: LabContainer, address: string, port = 80): Promise<string> {
  done(`docker exec ${container.name} fetch http://${address}:${port}/`);
  return container.fetch(address, port, 3000);
}

const RULES = [
  {
    name: "shop",
    scope: { containers: ["shop*"] },
    dns: { effect: "prevent", allowed: [".good.example"], intelligence: "prevent" },
    network: {
      effect: "alert",
      outboundAddresses: { denied: [INTERNET.denied], deniedEffect: "prevent" },
      intelligence: "prevent",
    },
  },
  {
    name: "vault",
    scope: { containers: ["vault"] },
    dns: { effect: "alert" },
    network: { effect: "alert", outboundAddresses: { denied: [INTERNET.denied], deniedEffect: "block" } },
  },
  {
    name: "Default - alert on suspicious runtime behavior",
    dns: { effect: "alert" },
    network: { effect: "alert" },
  },
] as const;

/** Run time of an image's containers until its model judges; long enough for step 5 to teach it. */
const LEARNING = "15s";

async function demo(world: World): Promise<void> {
  step("Start the appliance");
  const appliance = await Appliance.start(world, "demo", {
    settings: { models: { learningTime: LEARNING, trialTime: "0s" } },
    rules: RULES,
  });
  // Its image teaches a model while the other steps go on.
  const web = await world.engine.run("web", { image: "lab/tools:2" });
  const shop = await world.engine.run("shop");
  const vault = await world.engine.run("vault", {
    options: ["--restart", "always"],
    command: ["node", "/programs/talker.mts", INTERNET.good, "9"],
  });
  await web.lookup("good.example");
  await web.fetch(INTERNET.good);
  const status = await until("all containers are known", async () => {
    const status = await appliance.status();
    return status.containers.running === 3 ? status : undefined;
  });
  seen(`rules: ${RULES.map((rule) => rule.name).join("; ")}`, status.policy.rules === RULES.length);
  seen("containers: shop, vault (restart always, deaf to SIGTERM), web", status.containers.running === 3);

  step("What nothing speaks against passes");
  seen(`answer ${INTERNET.good}`, (await lookup(shop, "www.good.example")).includes(INTERNET.good));
  seen("connected", (await fetch(shop, INTERNET.good)) === "answered");

  step("A name on a threat feed is prevented, also behind an alias");
  seen("no answer", (await lookup(shop, "evil.example")).length === 0);
  seen(
    "no answer: chain.example is an alias of evil.example",
    (await lookup(shop, "chain.example")).length === 0,
  );
  const feed = await appliance.audit("the feed hit", (audit) => audit.attackType === "feedDNS");
  seen(`audit: ${feed.message}`, feed.effect === "prevent");

  step("A denied address is prevented");
  const capture = await world.captureInternet();
  seen("no connection", (await fetch(shop, INTERNET.denied)) === "silent");
  const left = (await capture.settled()).filter((packet) => packet.destination === INTERNET.denied);
  seen("a capture at the server shows no packet of it", left.length === 0);
  const denied = await appliance.audit("the denial", (audit) => audit.attackType === "explicitlyDeniedIP");
  seen(`audit: ${denied.message}`, denied.effect === "prevent");

  step("A deviation from what an image does is alerted");
  await until("the model of web's image is active", async () =>
    (await appliance.models()).some((model) => model.image.includes("tools:2") && model.state === "active"),
  );
  console.log(`   (the image of web was learned for ${LEARNING}: good.example, port 80)`);
  seen("answered: alert does not stop it", (await lookup(web, "other.example")).includes(INTERNET.other));
  seen("connected, likewise", (await fetch(web, INTERNET.other, 8080)) === "answered");
  for (const attackType of ["unexpectedDNS", "unexpectedOutboundPort"]) {
    const audit = await appliance.audit(attackType, (audit) => audit.attackType === attackType);
    seen(`audit: ${audit.message}`, audit.effect === "alert" && audit.container?.name === "web");
  }

  step("A container is blocked");
  const isNoise = (packet: { readonly destinationPort: number }): boolean => packet.destinationPort === 9;
  const inside = await world.captureContainer(vault);
  await until("vault talks", () => inside.packets().some(isNoise));
  done(`docker exec vault fetch http://${INTERNET.denied}:80/`);
  const attempt = vault.fetch(INTERNET.denied, 80, 3000);
  await until("vault is stopped", async () => (await vault.inspect("{{.State.Running}}")) === "false");
  await attempt;
  const packets = await capture.settled();
  await Promise.all([capture.stop(), inside.stop()]);
  const trigger = inside.packets().find((packet) => packet.destination === INTERNET.denied);
  const last = Math.max(...packets.filter(isNoise).map((packet) => packet.time));
  seen("the denied packet was seen at the container's link", trigger !== undefined);
  seen(
    "and never at the server",
    packets.every((packet) => packet.destination !== INTERNET.denied),
  );
  const silence = Math.max(0, last - (trigger?.time ?? 0)).toFixed(1);
  seen(`its other traffic ended ${silence} ms later; the container is stopped, and stays so`, true);
  done("tidesman unblock vault");
  seen("unblocked", (await appliance.cli("unblock", "vault")).status === 0);
  await until("vault runs again", async () => (await vault.inspect("{{.State.Running}}")) === "true");
  seen("vault runs again", true);

  step("All of it, audited");
  done("tidesman audits");
  const audits = await appliance.cli("audits");
  seen("the list, oldest first:", audits.status <= 1);
  console.log(audits.stdout.replaceAll(/^/gm, "   "));
  await appliance.stop();
}

const refusal = await worldRefusal();
if (refusal !== null) {
  console.error(`demo: the lab ${refusal}`);
  process.exit(4);
}
console.log(
  "Raising a sealed lab: a host with its own Docker, an Internet with real servers. Nothing of this machine is touched.",
);
const world = await raiseWorld();
try {
  await demo(world);
  console.log(
    `\n${bold("Done")} after ${((performance.now() - begin) / 1000).toFixed(0)} s; the lab is removed.`,
  );
} catch (error) {
  console.error(`\ndemo: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
} finally {
  world.remove();
}
