/** The lab's own facts, without the appliance: what the end-to-end tests take for granted. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import t from "tap";
import { UDP } from "../scripts/world/capture.ts";
import { askedNames } from "../scripts/world/internet.ts";
import { HOST, INTERNET } from "../scripts/world/network.ts";
import { ended, execute } from "../scripts/world/process.ts";
import { worlds } from "../scripts/world/removal.ts";
import { worldRefusal } from "../scripts/world/world.ts";
import { inLab } from "./e2e/lab.ts";

/** Empty for a process that is gone. */
function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8");
  } catch {
    return "";
  }
}

await inLab(t, async (world) => {
  const one = await world.engine.run("one");
  const two = await world.engine.run("two", { image: "lab/tools:2", options: ["--network", HOST.network] });

  await t.test("names", async (t) => {
    const capture = await world.captureInternet();
    t.strictSame(await one.lookup("good.example"), [INTERNET.good]);
    t.strictSame(await one.lookup("good.example", "AAAA"), [INTERNET.good6]);
    t.strictSame(await one.lookup("good.example", "+tcp"), [INTERNET.good]);
    t.strictSame(await one.lookup("good.example", `@${INTERNET.resolver6}`), [INTERNET.good], "over IPv6");
    t.strictSame(await two.lookup("good.example"), [INTERNET.good], "by the embedded resolver");
    t.strictSame(await one.lookup("chain.example"), ["hop.example.", "evil.example.", INTERNET.evil]);
    t.equal((await one.lookup("many.example")).length, 24);
    t.equal(
      (await one.lookup("big.example", "TXT")).join().split("x").length > 3000,
      true,
      "after truncation",
    );
    t.strictSame(await one.lookup("whoami.example", "TXT"), [`"${INTERNET.resolver}"`]);
    t.strictSame(
      await one.lookup("whoami.example", "TXT", `@${INTERNET.publicResolver}`),
      [`"${INTERNET.publicResolver}"`],
      "the two resolvers can be told apart",
    );
    const missing = await one.exec(["dig", "+time=2", "nothing.example"]);
    t.match(missing.stdout, /status: NXDOMAIN/);
    t.match(missing.stdout, /IN\s+SOA\s+a\.root\./, "with the record that says how long that holds");
    t.ok(askedNames(world.directory).includes("chain.example A"));
    const asked = (await capture.settled()).filter(
      (packet) => packet.protocol === UDP && packet.destination === INTERNET.publicResolver,
    );
    t.equal(asked.length, 1, "the capture saw the one lookup at the public resolver");
    await capture.stop();
  });

  await t.test("connections", async (t) => {
    t.equal(await one.fetch(INTERNET.good), "answered");
    t.equal(await one.fetch(INTERNET.good6, 8080), "answered");
    t.equal(await two.fetch(INTERNET.evil6), "answered");
    t.equal(await one.fetch(INTERNET.good, 81), "ECONNREFUSED");
    t.equal(await one.fetch(INTERNET.silent, 80, 300), "silent");
    t.ok(await one.echoes(INTERNET.denied));
    t.ok(await two.echoes(INTERNET.good6));
    t.notOk(await one.echoes(INTERNET.good, 8, 300));
  });

  await t.test("traffic between containers of one bridge meets netfilter", async (t) => {
    for (const family of ["iptables", "ip6tables"]) {
      t.equal(
        (await world.host.run("sysctl", ["-n", `net.bridge.bridge-nf-call-${family}`])).stdout.trim(),
        "1",
      );
    }
  });

  await t.test("images are told apart by digest", async (t) => {
    t.not(await one.inspect("{{.Image}}"), await two.inspect("{{.Image}}"));
  });

  await t.test("dockerd can be ended and started under its containers", async (t) => {
    await world.engine.restart();
    t.equal(await one.inspect("{{.State.Status}}"), "running");
    t.strictSame(await one.lookup("good.example"), [INTERNET.good]);
  });
});

await t.test("an owner that is killed leaves nothing behind for long", async (t) => {
  const refusal = await worldRefusal();
  if (refusal === null) {
    const lab = new URL("../scripts/lab", import.meta.url).pathname;
    const before = new Set(worlds().map((world) => world.id));
    const owner = spawn(lab, ["run", "--", "sh", "-c", "echo $TIDESMAN_LAB; read forever"], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    const [line]: Buffer[] = await once(owner.stdout, "data");
    const id = String(line).trim();
    t.notOk(before.has(id));
    t.ok(readdirSync("/run/netns").includes(`tm-lab-${id}-host`));
    owner.kill("SIGKILL");
    await ended(owner);
    t.ok(worlds().find((world) => world.id === id)?.stale, "the world is known to be left over");
    await execute(lab, ["down"]);
    t.notOk(worlds().some((world) => world.id === id));
    t.notOk(
      readdirSync("/run/netns").some((name) => name.includes(id)),
      "its namespaces are gone",
    );
    t.notOk(readFileSync("/proc/self/mounts", "utf8").includes(`/${id}/`), "its mounts are gone");
    const left = readdirSync("/proc").filter(
      (pid) => /^\d+$/.test(pid) && commandLine(pid).includes(`tidesman-lab/${id}`),
    );
    t.strictSame(left, [], "its processes are gone");
  } else t.plan(0, `the lab ${refusal}`);
});
