/** The doctor on a real host, with a daemon that is well, one that others get in the way of, and one that was killed. */
import t from "tap";
import { CATCH_ALL } from "../../scripts/world/appliance.ts";
import type { Verdict } from "../../src/doctor/verdict.ts";
import { inLab, startAppliance } from "./lab.ts";

await inLab(t, async (world) => {
  const appliance = await startAppliance(t, world, "doctor", { rules: [CATCH_ALL] });
  const seen = await world.engine.run("seen");
  const examine = async (): Promise<{ readonly status: number; of(check: string): readonly Verdict[] }> => {
    const { status, stdout } = await appliance.cli("doctor", "--json");
    const { verdicts }: { verdicts: readonly Verdict[] } = JSON.parse(stdout);
    return { status, of: (check) => verdicts.filter((verdict) => verdict.check === check) };
  };

  await t.test("all is well", async (t) => {
    const { status, of } = await examine();
    t.equal(status, 0);
    for (const check of [
      "daemon",
      "files",
      "privileges",
      "firewall",
      "queue",
      "conntrack",
      "engine",
      "ports",
    ])
      t.ok(of(check).length > 0 && of(check).every(({ level }) => level === "ok"), check);
    t.match(of("coverage")[0], { level: "ok", message: "1 of 1 running containers are seen" });
    t.match(of("lookups")[0], { level: "ok", message: /upstreams answer/ });
    const { source } = (await appliance.status()).rawSockets;
    t.equal(of("raw sockets")[0]?.level, source === "trace" ? "ok" : "warning");
  });

  await t.test("containers with rights are named", async (t) => {
    const strong = await world.engine.run("strong", {
      options: ["--cap-add", "NET_ADMIN", "-v", `${world.engine.socket}:/var/run/docker.sock`],
    });
    const { of } = await examine();
    t.match(
      of("coverage").filter(({ level }) => level === "warning"),
      [{ message: /could undo what is done on this host: `strong` \(\/.*\/docker\.sock\)$/ }],
    );
    await strong.remove();
  });

  await t.test("somebody stands before us", async (t) => {
    await world.host.run("iptables", ["-t", "mangle", "-I", "PREROUTING", "-i", "eth9", "-j", "RETURN"]);
    const { status, of } = await examine();
    t.equal(status, 0, "a warning is no problem");
    t.match(
      of("firewall").filter(({ level }) => level !== "ok"),
      [{ level: "warning", message: /-i eth9 -j RETURN` stands before ours in mangle/ }],
    );
    await world.host.run("iptables", ["-t", "mangle", "-D", "PREROUTING", "-i", "eth9", "-j", "RETURN"]);
  });

  await t.test("it was killed", async (t) => {
    await appliance.signal("SIGKILL");
    const { status, of } = await examine();
    t.equal(status, 1);
    t.match(of("daemon"), [{ level: "problem", message: /cannot be reached/ }]);
    t.match(of("firewall")[0], { level: "warning", message: /rules of a daemon that was killed are left/ });
    t.match(of("queue"), [{ level: "ok", message: /is free/ }]);
    t.match(of("ports"), [{ level: "ok" }]);
    // It takes its rules away in the end.
    await appliance.start();
  });
  await seen.remove();
});
