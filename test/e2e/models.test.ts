/** The life of a model with real containers: learned, in force, kept over a restart, taken over by the next image. */
import t from "tap";
import { INTERNET } from "../../scripts/world/network.ts";
import { until } from "../../scripts/world/process.ts";
import type { ModelReport } from "../../src/control/types.ts";
import type { RuleFile } from "../../src/policy/schema.ts";
import { inLab, startAppliance } from "./lab.ts";

const RULES: readonly RuleFile[] = [
  {
    name: "strict",
    scope: { containers: ["strict*"] },
    dns: { effect: "prevent" },
    network: { effect: "alert" },
  },
  { name: "watched", dns: { effect: "alert" }, network: { effect: "alert" } },
];
const [OLD, NEW] = ["lab/tools:1", "lab/tools:2"] as const;

await inLab(t, async (world) => {
  const appliance = await startAppliance(t, world, "models", {
    // Long enough for two looks at what listens, which come every ten seconds; two containers learn at once.
    settings: { models: { learningTime: "45s", trialTime: "0s" } },
    rules: RULES,
  });
  const model = async (image: string): Promise<ModelReport | undefined> =>
    (await appliance.models()).find((one) => one.image.endsWith(image));
  const active = (image: string): Promise<ModelReport> =>
    until(`the model of ${image} is active`, async () => {
      const found = await model(image);
      return found?.state === "active" ? found : undefined;
    });
  const listen = (port: number): string => `busybox nc -l -p ${port} -e cat &`;
  const watched = await world.engine.run("watched", { image: OLD });
  const strict = await world.engine.run("strict", { image: OLD });

  await t.test("what a container does is learned, and kept over a restart", async (t) => {
    t.strictSame(await watched.lookup("good.example"), [INTERNET.good]);
    await watched.exec(["sh", "-c", listen(8080)]);
    const learned = await until("it has learned", async () => {
      const found = await model(OLD);
      return found !== undefined && found.names > 0 && found.listeningPorts > 0 ? found : undefined;
    });
    t.match(learned, { state: "learning", names: 1, listeningPorts: 1, containers: 2 });
    await appliance.signal("SIGTERM");
    await appliance.start();
    const kept = await model(OLD);
    t.match(kept, { key: learned.key, names: 1, listeningPorts: 1 });
    t.ok((kept?.learned ?? 0) > 0, "and so is the time it has learned for");
    t.match(await active(OLD), { names: 1, listeningPorts: 1 });
  });

  await t.test("what is new is told, and prevented where the rule says so", async (t) => {
    t.strictSame(await strict.lookup("good.example"), [INTERNET.good], "learned by one, allowed to all");
    t.strictSame(await watched.lookup("other.example"), [INTERNET.other], "told only");
    t.strictSame(await strict.lookup("other.example", "+time=1"), [], "prevented");
    for (const [name, effect] of [
      ["watched", "alert"],
      ["strict", "prevent"],
    ] as const) {
      const audit = await appliance.audit(
        `the new name of ${name}`,
        ({ attackType, container }) => attackType === "unexpectedDNS" && container?.name === name,
      );
      t.match(audit, {
        effect,
        dns: { name: "other.example" },
        reasons: [{ kind: "model", state: "active" }],
      });
    }
    await watched.exec(["sh", "-c", listen(9090)]);
    const port = await appliance.audit(
      "the new port",
      ({ attackType }) => attackType === "unexpectedListeningPort",
    );
    t.match(port, { effect: "alert", container: { name: "watched" }, connection: { port: 9090 } });
  });

  await t.test("a new image of the repository begins with what the old one knew", async (t) => {
    await Promise.all([watched.remove(), strict.remove()]);
    const next = await world.engine.run("watched-2", { image: NEW });
    const before = await model(OLD);
    const after = await until("it has a model", () => model(NEW));
    t.match(after, { state: "learning", names: 1, listeningPorts: 1, predecessor: before?.key });
    t.strictSame(await next.lookup("other.example"), [INTERNET.other], "learned");
    const news = await appliance.audit(
      "what is new since the update",
      ({ container, dns }) => container?.name === "watched-2" && dns?.name === "other.example",
    );
    t.match(news, { attackType: "unexpectedDNS", effect: "alert", rule: "watched" });
    t.match(news.reasons, [
      { kind: "model", state: "learning", match: "none" },
      { message: `new since image update from ${before?.key}` },
    ]);
    // More containers of it learn faster.
    const more = ["watched-3", "watched-4", "watched-5", "watched-6"];
    await Promise.all(more.map((name) => world.engine.run(name, { image: NEW })));
    await active(NEW);
    t.strictSame(await next.lookup("good.example"), [INTERNET.good]);
    t.strictSame(await next.lookup("short.example"), [INTERNET.good]);
    const audit = await appliance.audit(
      "the name that is new",
      ({ reasons, container }) => reasons[0]?.state === "active" && container?.name === "watched-2",
    );
    t.equal(audit.dns?.name, "short.example", "and not what was taken over");
    t.match(
      audit.reasons.map(({ message }) => message),
      [undefined, `new since image update from ${before?.key}`],
    );
  });
});
