/** A feed from its server to the decision: fetched by the command line, while containers go on asking. */
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { CATCH_ALL } from "../../scripts/world/appliance.ts";
import { until } from "../../scripts/world/process.ts";
import { inLab, startAppliance } from "./lab.ts";

/** Serves on loopback of the host the file of its second argument at the port of the first; counts what it answered. */
const SERVER = `
  const { createServer } = require("node:http"), { readFileSync } = require("node:fs");
  createServer((request, response) => {
    const body = readFileSync(process.argv[2]), tag = '"' + body.length + '"';
    if (request.headers["if-none-match"] === tag) { response.writeHead(304); response.end(); return; }
    response.writeHead(200, { etag: tag, "content-length": body.length });
    response.end(body);
  }).listen(Number(process.argv[1]), "127.0.0.1", () => console.log("up"));
`;
const PORT = 8099;

await inLab(t, async (world) => {
  const appliance = await startAppliance(t, world, "feeds", {
    rules: [
      {
        name: "strict",
        scope: { containers: ["strict*"] },
        dns: { effect: "alert", intelligence: "prevent" },
        network: { effect: "alert" },
      },
      CATCH_ALL,
    ],
  });
  const list = join(appliance.directory, "served.txt");
  writeFileSync(list, "first.example\n");
  const server = spawn(
    "nsenter",
    [`--net=${world.host.path}`, process.execPath, "-e", SERVER, String(PORT), list],
    {
      stdio: ["ignore", "pipe", "inherit"],
    },
  );
  t.teardown(() => server.kill());
  await new Promise((resolve) => server.stdout.once("data", resolve));
  const manifest = {
    version: 1,
    feeds: [{ name: "served", url: `http://127.0.0.1:${PORT}/list`, kind: "domain" }],
  };
  writeFileSync(join(appliance.directory, "feeds.yaml"), JSON.stringify(manifest));
  const strict = await world.engine.run("strict");

  await t.test("the first update fetches it, and the daemon takes it over", async (t) => {
    const { status, stdout } = await appliance.cli("feeds", "update");
    t.equal(status, 0);
    t.match(stdout, /served +domain +suffix +rule's +1 +in use/);
    t.strictSame(
      await strict.lookup("good.example", "A", "+short"),
      await strict.lookup("four.example", "A", "+short"),
    );
  });

  await t.test(
    "an update turns a lookup from allowed to prevented; no other lookup fails meanwhile",
    async (t) => {
      let asked = 0;
      let failed = 0;
      let going = true;
      const others = (async () => {
        while (going) {
          asked++;
          if ((await strict.lookup("four.example", "A", "+time=2", "+tries=1")).length === 0) failed++;
        }
      })();
      t.not((await strict.lookup("good.example", "A")).length, 0, "allowed before");
      writeFileSync(list, "first.example\ngood.example\n");
      const { status } = await appliance.cli("feeds", "update", "served");
      t.equal(status, 0);
      // The command ended behind the swap: the very next lookup is judged by the new list.
      t.strictSame(await strict.lookup("good.example", "A", "+time=1", "+tries=1"), [], "prevented after");
      going = false;
      await others;
      t.ok(asked > 0);
      t.equal(failed, 0, `of ${asked} lookups of another name`);
      const [audit] = await until("the audit", async () => {
        const found = (await appliance.audits()).filter(({ attackType }) => attackType === "feedDNS");
        return found.length > 0 ? found : undefined;
      });
      t.match(audit?.reasons, [{ kind: "feed", feed: "served", entry: "good.example", match: "suffix" }]);
    },
  );

  await t.test("test, show and rollback", async (t) => {
    t.equal((await appliance.cli("feeds", "test", "served", "www.good.example")).status, 1);
    t.equal((await appliance.cli("feeds", "test", "all", "other.example")).status, 0);
    t.match((await appliance.cli("feeds", "show", "served")).stdout, /added +1: \.good\.example/);
    t.equal((await appliance.cli("feeds", "rollback")).status, 0);
    t.not((await strict.lookup("good.example", "A")).length, 0, "allowed again");
    const held = await appliance.cli("feeds", "update");
    t.equal(held.status, 1, "what was rolled back does not come back by itself");
    t.match(held.stdout, /rolled back before/);
    t.equal((await appliance.cli("feeds", "approve", "served")).status, 0);
    t.strictSame(await strict.lookup("good.example", "A", "+time=1", "+tries=1"), []);
  });

  await t.test(
    "with the daemon down the next start has it, and a server that is away changes nothing",
    async (t) => {
      await appliance.stop();
      writeFileSync(list, "first.example\ngood.example\nother.example\n");
      const updated = await appliance.cli("feeds", "update");
      t.equal(updated.status, 0);
      const gone = new Promise((resolve) => server.once("exit", resolve));
      server.kill();
      await gone;
      const failed = await appliance.cli("feeds", "update");
      t.equal(failed.status, 1);
      t.match(failed.stdout, /served: .*ECONNREFUSED/s);
      await appliance.start();
      t.strictSame(await strict.lookup("other.example", "A", "+time=1", "+tries=1"), []);
      t.match(await appliance.status(), { feeds: [{ name: "served", entries: 3, state: "failed" }] });
    },
  );
});
