/**
 * Real tunnels end to end: iodine and dns2tcp in containers, their servers behind a real resolver. A mode of each kind;
 * `npm run detections` tries them all.
 */
import t from "tap";
import { CATCH_ALL } from "../../scripts/world/appliance.ts";
import { dns2tcp, iodine, type Passage, Tunnels, tunnelRefusal } from "../../scripts/world/tunnels.ts";
import { inLab, startAppliance } from "./lab.ts";

/** A tunnel is to be found so many milliseconds after its first kilobyte, and cut before so many bytes have passed. */
const MOST_TIME = 60_000;
const MOST_BYTES = 10_000;

const MODES = [
  { tunnel: iodine("NULL", "base128", "-r -T NULL"), rule: "alert" },
  { tunnel: iodine("A, base32 names", "base32", "-r -T A -O Base32"), rule: "prevent" },
  { tunnel: iodine("NULL, small answers", "base128", "-r -T NULL -m 100", "down"), rule: "prevent" },
  { tunnel: dns2tcp("TXT", "-T TXT"), rule: "alert" },
  { tunnel: dns2tcp("TXT, incoming", "-T TXT", "down"), rule: "prevent" },
  { tunnel: dns2tcp("KEY", "-T KEY"), rule: "prevent" },
] as const;

const refusal = await tunnelRefusal();
if (refusal !== null) t.plan(0, `a tunnel ${refusal}`);
else
  await inLab(t, async (world) => {
    const appliance = await startAppliance(t, world, "tunnels", {
      // Of every container an audit of its own.
      settings: { audits: { fold: { after: 0 } } },
      rules: [
        {
          name: "prevent",
          scope: { containers: ["prevent*"] },
          dns: { effect: "alert", suspicious: "prevent" },
        },
        { name: "alert", scope: { containers: ["alert*"] }, dns: { effect: "alert" } },
        CATCH_ALL,
      ],
    });
    await t.test("all are found, and cut where the rule says so", async (t) => {
      const tunnels = await Tunnels.start(world);
      const run = ({ tunnel, rule }: (typeof MODES)[number]): Promise<Passage> =>
        tunnels.run(tunnel, appliance, rule, rule === "prevent");
      // Both tools at once, and the tunnels of each one after the other: dns2tcp does not like company.
      const [ofIodine, ofDns2tcp] = await Promise.all(
        ["iodine", "dns2tcp"].map(async (tool) => {
          const modes = MODES.filter(({ tunnel }) => tunnel.name.startsWith(tool));
          const passages: Passage[] = [];
          for (const mode of modes) passages.push(await run(mode));
          return passages;
        }),
      );
      const passages = [...(ofIodine ?? []), ...(ofDns2tcp ?? [])];
      for (const [index, { tunnel, rule }] of MODES.entries()) {
        const { ready, found, kilobyte, bytes, output } = passages[index]!;
        if (found === null) t.comment(output);
        t.not(found, null, `${tunnel.name} is found`);
        if (rule === "alert") {
          t.not(ready, null, `${tunnel.name} works`);
          t.ok((found ?? 0) - (kilobyte ?? found ?? 0) < MOST_TIME, `${tunnel.name} is found in time`);
        } else t.ok(bytes < MOST_BYTES, `${tunnel.name} is cut: ${bytes} bytes have passed`);
      }
      const incidents = await appliance.cli("incidents", "list", "--json");
      t.match(incidents.stdout, /"kind":"dataExfiltration","state":"open"/, "and there is an incident");
    });
  });
