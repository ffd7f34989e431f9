/** Sockets of real containers: ports they listen on, raw and packet sockets, and what the rule makes of them. */
import t from "tap";
import { CATCH_ALL } from "../../scripts/world/appliance.ts";
import { inLab, startAppliance } from "./lab.ts";

await inLab(t, async (world) => {
  const appliance = await startAppliance(t, world, "sockets", {
    rules: [
      {
        name: "strict",
        scope: { containers: ["strict*"] },
        network: {
          effect: "alert",
          listeningPorts: { allowed: [8080], denied: [4444], deniedEffect: "alert" },
        },
      },
      {
        name: "quiet",
        scope: { containers: ["quiet*"] },
        network: { effect: "alert", rawSockets: "disable" },
      },
      {
        name: "deadly",
        scope: { containers: ["deadly*"] },
        network: { effect: "alert", listeningPorts: { denied: [4445], deniedEffect: "block" } },
      },
      CATCH_ALL,
    ],
  });
  const strict = await world.engine.run("strict");
  const quiet = await world.engine.run("quiet");
  const deadly = await world.engine.run("deadly");
  const listen = (port: number): string[] => ["busybox", "nc", "-l", "-p", String(port), "-e", "cat"];

  await t.test("a denied port is told with the process that holds it", async (t) => {
    await strict.exec(["sh", "-c", `${listen(8080).join(" ")} & ${listen(4444).join(" ")} &`]);
    const audit = await appliance.audit(
      "the denied listener",
      ({ attackType }) => attackType === "explicitlyDeniedListeningPort",
    );
    t.match(audit, {
      type: "listeningPort",
      effect: "alert",
      rule: "strict",
      container: { name: strict.name },
      connection: { protocol: "tcp", port: 4444 },
      message: /4444.*pid \d+/,
    });
    const others = (await appliance.audits()).filter(({ connection }) => connection?.port === 8080);
    t.strictSame(others, [], "an allowed one is not");
  });

  await t.test("a raw socket is told, unless the rule turns that off", async (t) => {
    const ping = ["busybox", "ping", "-c", "20", "-i", "1", "203.0.113.10"];
    await Promise.all([quiet.exec(ping), strict.exec(ping)].map((run) => run.catch(() => undefined)));
    const audit = await appliance.audit("the raw socket", ({ attackType }) => attackType === "rawSocket");
    t.match(audit, { type: "rawSocket", effect: "alert", container: { name: strict.name } });
    t.ok(
      (await appliance.audits()).every(
        (one) => one.type !== "rawSocket" || one.container?.name === strict.name,
      ),
    );
  });

  await t.test("block stops the container that listens", async (t) => {
    await deadly.exec(["sh", "-c", `${listen(4445).join(" ")} &`]);
    const audit = await appliance.audit("the block", ({ effect }) => effect === "block");
    t.match(audit, { attackType: "explicitlyDeniedListeningPort", container: { name: deadly.name } });
    t.match(
      (await appliance.containers()).find(({ name }) => name === deadly.name)?.state,
      /blocked|running/,
    );
  });
});
