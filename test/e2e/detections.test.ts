/** Detectors at work: a real scanner, data in names, names that nobody registered, and lookups that try to go around us. */
import t from "tap";
import { CATCH_ALL } from "../../scripts/world/appliance.ts";
import { INTERNET } from "../../scripts/world/network.ts";
import { execute } from "../../scripts/world/process.ts";
import { inLab, startAppliance } from "./lab.ts";

/** Asks for all names of the list, five at a time, not waiting long for those that are not answered. Prints how many were. */
const ASK = `
  const { Resolver } = require("node:dns/promises");
  const resolver = new Resolver({ timeout: 400, tries: 1 });
  resolver.setServers([process.argv[1]]);
  (async () => {
    const names = process.argv[2].split(",");
    let answered = 0;
    for (let from = 0; from < names.length; from += 5) {
      const asked = names.slice(from, from + 5).map((name) => resolver.resolveTxt(name));
      for (const { status, reason } of await Promise.allSettled(asked)) {
        if (status === "fulfilled" || reason.code !== "ETIMEOUT") answered++;
      }
    }
    console.log(answered);
  })();
`;

/** Text that looks like encoded data: the same in every run. */
function encoded(index: number, length: number): string {
  let state = (index + 1) * 2654435761;
  let text = "";
  while (text.length < length) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    text += "abcdefghijklmnopqrstuvwxyz234567"[state >>> 27];
  }
  return text;
}

await inLab(t, async (world) => {
  const appliance = await startAppliance(t, world, "detections", {
    // Every finding is an audit, so that a few lookups are many alike.
    settings: { audits: { window: "0ms" } },
    rules: [
      {
        name: "strict",
        scope: { containers: ["strict*"] },
        dns: { effect: "alert", suspicious: "prevent", denied: ["denied.example"] },
        network: { effect: "alert" },
      },
      CATCH_ALL,
    ],
  });
  const strict = await world.engine.run("strict");
  const ask = async (names: readonly string[]): Promise<number> => {
    const { stdout } = await strict.exec(["node", "-e", ASK, INTERNET.resolver, names.join(",")]);
    return Number(stdout);
  };

  await t.test("a real scanner is told, a busy client is not", async (t) => {
    for (let round = 0; round < 30; round++) await strict.fetch(INTERNET.good);
    t.strictSame(
      (await appliance.audits()).filter(({ type }) => type === "portScan"),
      [],
      "thirty connections to one server",
    );
    const pid = (await appliance.containers()).find(({ name }) => name === strict.name)?.pid;
    await execute(
      "nsenter",
      [`--net=/proc/${pid}/ns/net`, "nmap", "-sS", "-Pn", "-n", "--top-ports", "200", "-T4", INTERNET.good],
      { anyStatus: true },
    );
    const audit = await appliance.audit("the scan", ({ attackType }) => attackType === "verticalPortScan");
    t.match(audit, { type: "portScan", effect: "alert", rule: "strict", container: { name: strict.name } });
    t.match(audit.message, INTERNET.good);
    const incidents = await appliance.cli("incidents", "list", "--json");
    t.match(incidents.stdout, /"kind":"portScan","state":"open"/, "and is an incident");
    t.match((await appliance.status()).incidents, {
      open: { portScan: 1 },
      opened: { portScan: 1 },
      error: null,
    });
  });

  await t.test("many alike in two containers of an image are one audit that names both", async (t) => {
    const other = await world.engine.run("strict-too");
    for (let round = 0; round < 6; round++) {
      for (const container of [strict, other]) await container.lookup("denied.example", "A", "+time=1");
    }
    const fold = await appliance.audit(
      "the fold",
      (audit) => audit.dns?.name === "denied.example" && audit.fold?.containers.length === 2,
    );
    t.match(fold.message, /^many alike in 2 containers of .*: lookup of denied\.example/);
    const single = (await appliance.audits()).filter(
      (audit) => audit.dns?.name === "denied.example" && audit.fold === undefined,
    );
    t.equal(single.length, 5);
    const found = await appliance.cli("audits", "--container", other.name, "--json");
    t.match(found.stdout, fold.id, "either finds it");
    await other.remove();
  });

  await t.test("data in names is prevented before much of it has left", async (t) => {
    const names = Array.from(
      { length: 150 },
      (_, index) => `${encoded(index, 60)}.${encoded(index + 999, 50)}.t.wild.example`,
    );
    const answered = await ask(names);
    t.ok(answered * 110 < 10_000, `${answered} of 150 lookups came through`);
    const audit = await appliance.audit("the tunnel", ({ attackType }) => attackType === "suspiciousDNS");
    t.match(audit, { type: "dns", effect: "prevent", container: { name: strict.name } });
    t.match(audit.message, /wild\.example/);
    t.ok((await strict.lookup("good.example", "A")).length > 0, "other names are answered");
  });

  await t.test("a public name that leads inside", async (t) => {
    t.strictSame(await strict.lookup("rebind.example", "A", "+time=1"), []);
    await appliance.audit("the rebinding", ({ attackType }) => attackType === "dnsRebinding");
  });

  await t.test("lookups that go around the proxy", async () => {
    await strict.fetch(INTERNET.good, 853, 1000);
    await appliance.audit("encrypted lookups", ({ attackType }) => attackType === "encryptedDNS");
  });
});
