/** Lookups of real containers, end to end: however they are sent, they reach the appliance, and policy decides them. */
import t from "tap";
import { CATCH_ALL } from "../../scripts/world/appliance.ts";
import type { SeenPacket } from "../../scripts/world/capture.ts";
import { askedNames } from "../../scripts/world/internet.ts";
import { HOST, INTERNET } from "../../scripts/world/network.ts";
import { until } from "../../scripts/world/process.ts";
import type { AuditRecord } from "../../src/audit/record.ts";
import { inLab, startAppliance } from "./lab.ts";

function isLookupAt(address: string): (packet: SeenPacket) => boolean {
  return (packet) => packet.destination === address && packet.destinationPort === 53;
}

await inLab(t, async (world) => {
  const appliance = await startAppliance(t, world, "lookups", {
    rules: [
      {
        name: "strict",
        scope: { containers: ["strict*"] },
        dns: { effect: "prevent", denied: [".denied.example"], intelligence: "prevent" },
        network: { effect: "alert" },
      },
      CATCH_ALL,
    ],
  });
  const free = await world.engine.run("free");
  const strict = await world.engine.run("strict");
  const embedded = await world.engine.run("strict-embedded", { options: ["--network", HOST.network] });
  const pointed = await world.engine.run("strict-pointed", { options: ["--dns", HOST.bridgeAddress] });
  const whoami = [`"${INTERNET.resolver}"`];

  await t.test("a lookup sent to another resolver is answered by ours", async (t) => {
    const capture = await world.captureInternet();
    for (const transport of ["+notcp", "+tcp"]) {
      t.strictSame(
        await free.lookup("whoami.example", "TXT", `@${INTERNET.publicResolver}`, transport),
        whoami,
        transport,
      );
      t.strictSame(
        await strict.lookup("whoami.example", "TXT", `@${INTERNET.publicResolver}`, transport),
        whoami,
        `${transport}, in a container that is judged`,
      );
    }
    const packets = await capture.settled();
    await capture.stop();
    t.strictSame(packets.filter(isLookupAt(INTERNET.publicResolver)), [], "the other resolver saw nothing");
  });

  await t.test("over IPv6 too", async (t) => {
    const capture = await world.captureInternet();
    for (const transport of ["+notcp", "+tcp"]) {
      t.strictSame(await strict.lookup("six.example", "AAAA", `@${INTERNET.resolver6}`, transport), [
        INTERNET.good6,
      ]);
    }
    t.strictSame(
      await strict.lookup("denied.example", "AAAA", `@${INTERNET.resolver6}`, "+time=1"),
      [],
      "and is judged",
    );
    const packets = await capture.settled();
    await capture.stop();
    t.strictSame(
      packets.filter(isLookupAt(INTERNET.resolver6)),
      [],
      "the server asked over IPv6 saw nothing",
    );
  });

  await t.test("an answer too long for UDP comes over TCP", async (t) => {
    const short = await strict.exec(["dig", "+ignore", "+notcp", "+time=8", "big.example", "TXT"]);
    t.match(short.stdout, /flags: [a-z ]*\btc\b/, "truncated first");
    const whole = await strict.lookup("big.example", "TXT");
    t.ok(whole.join("").length > 3000, "whole over TCP");
  });

  await t.test("a container pointed at the bridge address", async (t) => {
    const output = await pointed.exec(["dig", "+time=8", "+tries=1", "good.example"]);
    t.match(output.stdout, new RegExp(`SERVER: ${HOST.bridgeAddress.replaceAll(".", "\\.")}#53`));
    t.match(output.stdout, new RegExp(`${INTERNET.good.replaceAll(".", "\\.")}`));
    t.strictSame(await pointed.lookup("good.example", "+tcp"), [INTERNET.good]);
    t.strictSame(await pointed.lookup("denied.example", "+time=1"), []);
    await appliance.audit(
      "pointed is denied",
      (audit) => audit.attackType === "explicitlyDeniedDNS" && audit.container?.name === "strict-pointed",
    );
  });

  await t.test("a container behind the embedded resolver", async (t) => {
    t.strictSame(await embedded.lookup("good.example"), [INTERNET.good]);
    t.strictSame(await embedded.lookup("c2.evil.example", "+time=1"), []);
    const audit = await appliance.audit(
      "the listed name below evil.example",
      (audit) => audit.attackType === "feedDNS" && audit.dns?.name === "c2.evil.example",
    );
    t.equal(audit.container?.name, "strict-embedded", "it is the container that asked, not the resolver");
    t.equal(audit.container?.id, embedded.id);
    t.match(audit.reasons[0], { kind: "feed", feed: "lab-names", entry: "evil.example", match: "suffix" });
  });

  await t.test("a chain that leads to a listed name", async (t) => {
    t.strictSame(await strict.lookup("chain.example", "+time=1"), []);
    const audit = await appliance.audit(
      "the chain",
      (audit) => audit.dns?.name === "chain.example" && audit.attackType === "feedDNS",
    );
    t.equal(audit.effect, "prevent");
    t.equal(audit.rule, "strict");
    t.ok(
      audit.reasons.some((reason) => reason.kind === "feed" && reason.subject === "evil.example"),
      "the hop is named",
    );
    t.strictSame(await strict.lookup("to-denied.example", "+time=1"), [], "and one to a denied name");
    t.ok(
      (await free.lookup("chain.example")).includes(INTERNET.evil),
      "a container without that rule has it",
    );
  });

  await t.test("a prevented name is not asked upstream", async (t) => {
    t.strictSame(await strict.lookup("deeper.denied.example", "+time=1"), []);
    t.notOk(askedNames(world.directory).some((line) => line.startsWith("deeper.denied.example ")));
  });

  await t.test("who shares a container's network is judged as that one, and told so", async (t) => {
    const sharing = ["--name", "guest", "--network", "container:strict"];
    await world.engine.docker(["run", "-d", ...sharing, "lab/tools:1", "sleep", "100000"]);
    const shared = await until("the guest is known", async () => {
      const told = await appliance.cli("why", "guest", "denied.example");
      return told.stdout.includes("shares the network") ? told : undefined;
    });
    t.match(shared, { status: 1, stdout: /^rule +strict.*shares the network of `strict`/ms });
    await world.engine.docker(["rm", "-f", "guest"]);
  });

  await t.test("a cached answer is decided for each container", async (t) => {
    const asked = (): number =>
      askedNames(world.directory).filter((line) => line === "denied.example A").length;
    const before = asked();
    t.strictSame(await free.lookup("denied.example"), [INTERNET.denied], "allowed: it is in the cache now");
    t.strictSame(await strict.lookup("denied.example", "+time=1"), [], "denied, though cached");
    t.strictSame(await free.lookup("denied.example"), [INTERNET.denied], "still allowed");
    t.equal(asked() - before, 1, "one question upstream for all");
  });

  await t.test("the reply is that of the name asked, in the asker's case", async (t) => {
    const output = await free.exec(["dig", "+time=8", "+tries=1", "GoOd.ExAmPlE"]);
    t.match(output.stdout, /^GoOd\.ExAmPlE\.\s+\d+\s+IN\s+A\s/m);
    const many = await free.lookup("many.example");
    t.equal(many.length, 24);
  });

  await t.test("a name that does not exist", async (t) => {
    const output = await strict.exec(["dig", "+time=8", "+tries=1", "nothing.example"]);
    t.match(output.stdout, /status: NXDOMAIN/);
    t.match(output.stdout, /\sSOA\s/);
  });

  await t.test("only containers are served", async (t) => {
    const question = ["+time=1", "+tries=1", "-p", "5303", "good.example"];
    for (const server of [HOST.address, HOST.bridgeAddress, HOST.address6]) {
      for (const transport of ["+notcp", "+tcp"]) {
        const output = await world.internet.run("dig", [`@${server}`, transport, ...question], {
          anyStatus: true,
        });
        t.notMatch(output.stdout, /ANSWER SECTION/, `${server} ${transport}`);
      }
    }
  });

  await t.test("a reload judges cached answers at once", async (t) => {
    t.strictSame(await free.lookup("other.example"), [INTERNET.other]);
    const rules = [
      {
        name: "free",
        scope: { containers: ["free"] },
        dns: { effect: "prevent", denied: ["other.example"] },
      },
      CATCH_ALL,
    ] as const;
    await appliance.reload(rules);
    t.strictSame(await free.lookup("other.example", "+time=1"), []);
    t.strictSame(await free.lookup("denied.example"), [INTERNET.denied]);
    await appliance.reload([CATCH_ALL]);
    t.strictSame(await free.lookup("other.example"), [INTERNET.other]);
  });

  await t.test("the command line tells the same", async (t) => {
    const audits = await appliance.cli("audits", "--json", "--since", "1h");
    t.equal(audits.status, 0);
    const lines = audits.stdout.trimEnd().split("\n");
    const records = lines.map((line): AuditRecord => JSON.parse(line));
    t.ok(records.some((audit) => audit.attackType === "feedDNS" && audit.dns?.name === "chain.example"));
    t.equal((await appliance.cli("status")).status, 0);
    t.match((await appliance.cli("containers")).stdout, /strict-point/);
    const why = await appliance.cli("why", "free", "good.example");
    t.equal(why.status, 0, why.stdout + why.stderr);
    t.equal((await appliance.cli("why", "nobody", "good.example")).status, 1);
  });

  await t.test("a policy is tried on what happened before it is in force", async (t) => {
    const same = await appliance.cli("policy", "replay", "--since", "1h");
    t.equal(same.status, 0, same.stdout + same.stderr);
    appliance.writePolicy([
      {
        name: "tried",
        scope: { containers: ["strict*"] },
        dns: { effect: "prevent", denied: ["good.example"] },
      },
      CATCH_ALL,
    ]);
    const changed = await appliance.cli("policy", "replay", "--since", "1h");
    t.equal(changed.status, 1, changed.stderr);
    t.match(changed.stdout, /^newly denied: .*\(passes -> prevent\)$/m);
    t.match(changed.stdout, /chain\.example \(A\) is an alias of\s+evil\.example/);
    t.match(changed.stdout, /^newly denied: \d lookups? of late \(passes -> prevent\)$/m);
    t.strictSame(await strict.lookup("denied.example"), [INTERNET.denied], "nothing was changed");
    appliance.writePolicy([CATCH_ALL]);
  });

  await t.test("counters tell what happened", async (t) => {
    const status = await until("lookups are counted", async () => {
      const status = await appliance.status();
      return status.dns.prevented > 0 ? status : undefined;
    });
    t.ok(status.dns.cached + status.dns.shortcuts > 0);
    t.ok(status.dns.sent > 0);
    t.equal(status.dns.errors, 0);
  });

  await t.test("an operator lets one container reach a denied name, for a time", async (t) => {
    const allow = async (...args: string[]) => appliance.cli("allow", ...args);
    await appliance.reload([
      {
        name: "strict",
        scope: { containers: ["strict*"] },
        dns: { effect: "prevent", denied: [".denied.example"] },
        network: { effect: "prevent", outboundAddresses: { denied: [INTERNET.denied] } },
      },
      CATCH_ALL,
    ]);
    t.strictSame(await strict.lookup("denied.example", "+time=1"), []);
    const given = await allow("strict", ".denied.example", "--for", "10m", "--note", "a test");
    t.equal(given.status, 0, given.stderr);
    t.strictSame(await strict.lookup("denied.example"), [INTERNET.denied], "at once");
    t.equal(await strict.fetch(INTERNET.denied), "answered", "and so do connections to what it leads to");
    t.strictSame(await pointed.lookup("denied.example", "+time=1"), [], "nobody else");
    const why = await appliance.cli("why", "strict", "denied.example");
    t.equal(why.status, 0);
    t.match(why.stdout, /allowed by an operator/);
    const audit = await appliance.audit("who allowed it", ({ attackType }) => attackType === "exempted");
    t.match(audit.message, /lets it reach `\.denied\.example` until .*: a test/);

    await appliance.signal("SIGKILL");
    await appliance.start();
    t.strictSame(await strict.lookup("denied.example"), [INTERNET.denied], "it outlives the daemon");
    t.match((await allow("--list")).stdout, /strict .*\.denied\.example/);
    t.equal((await allow("strict", ".denied.example", "--withdraw")).status, 0);
    t.strictSame(await strict.lookup("denied.example", "+time=1"), [], "and ends at once");
    t.equal(await strict.fetch(INTERNET.denied, 80, 700), "silent");
  });
});
