/**
 * Real tunnels against the exfiltration detector, end to end: client in a container, server of a domain behind a real
 * resolver, the appliance between them. Prints the table of docs/detections.md. `node scripts/detections/tunnels.ts [PATTERN]`.
 */
import { Appliance, CATCH_ALL } from "../world/appliance.ts";
import { dns2tcp, iodine, type Passage, type Tunnel, Tunnels, tunnelRefusal } from "../world/tunnels.ts";
import { raiseWorld } from "../world/world.ts";

const AT_ONCE = 4;
const DOWNSTREAM = ["Base32", "Base64", "Base64u", "Base128"];

function* tunnels(): Generator<Tunnel> {
  for (const type of ["NULL", "PRIVATE"]) yield iodine(type, "base128", `-r -T ${type}`);
  for (const type of ["TXT", "SRV", "MX", "CNAME", "A"]) {
    for (const encoding of type === "TXT" ? [...DOWNSTREAM, "Raw"] : DOWNSTREAM)
      yield iodine(`${type}, ${encoding} answers`, "base128", `-r -T ${type} -O ${encoding}`);
  }
  for (const type of ["NULL", "PRIVATE", "TXT", "SRV", "MX", "CNAME", "A"]) {
    for (const encoding of ["base64", "base64u", "base32"] as const)
      yield iodine(`${type}, ${encoding} names`, encoding, `-r -T ${type}`);
    yield iodine(`${type}, not lazy`, "base128", `-r -T ${type} -L 0`);
    yield iodine(`${type}, incoming`, "base128", `-r -T ${type}`, "down");
  }
  for (const size of [100, 300, 1000]) {
    yield iodine(`NULL, fragments of ${size}`, "base128", `-r -T NULL -m ${size}`);
    yield iodine(`NULL, fragments of ${size}, incoming`, "base128", `-r -T NULL -m ${size}`, "down");
  }
  for (const type of ["NULL", "TXT", "A"])
    yield iodine(`${type}, names of 100`, "base128", `-r -T ${type} -M 100`);
  yield iodine("A, names of 100, base32 names", "base32", "-r -T A -M 100");
  yield iodine("as it comes", "base128", "-I 4");
  for (const type of ["TXT", "KEY"]) {
    yield dns2tcp(type, `-T ${type}`);
    yield dns2tcp(`${type}, packed`, `-c -T ${type}`);
    yield dns2tcp(`${type}, incoming`, `-T ${type}`, "down");
  }
}

function row(tunnel: Tunnel, told: Passage, prevented: Passage): string {
  const { ready, found, kilobyte, bytesUntilFound } = told;
  const since = kilobyte === null || found === null ? 0 : Math.max(0, found - kilobyte) / 1000;
  const verdict =
    found === null
      ? "**nothing**"
      : ready === null
        ? "yes, **no tunnel**"
        : found < ready
          ? "while it opens"
          : "yes";
  const passed =
    prevented.bytes < 10_000 && prevented.found !== null ? prevented.bytes : `**${prevented.bytes}**`;
  return `| ${tunnel.name} | ${verdict} | ${since.toFixed(1)} | ${bytesUntilFound} | ${passed} |`;
}

const [pattern = ""] = process.argv.slice(2).filter((argument) => !argument.startsWith("--"));
const refusal = await tunnelRefusal();
if (refusal !== null) {
  console.log(`The table of tunnels ${refusal}.`);
  process.exit();
}
const world = await raiseWorld();
try {
  const appliance = await Appliance.start(world, "tunnels", {
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
  const servers = await Tunnels.start(world);
  console.log(
    "| Tunnel | Found | Seconds after the first kilobyte | Bytes until then | Bytes passed under `prevent` |\n|---|---|---:|---:|---:|",
  );
  const waiting = [...tunnels()].filter(({ name }) => name.includes(pattern));
  const work = async (): Promise<void> => {
    for (let tunnel = waiting.shift(); tunnel !== undefined; tunnel = waiting.shift()) {
      const told = await servers.run(tunnel, appliance, "alert", false);
      const prevented = await servers.run(tunnel, appliance, "prevent", true);
      console.log(row(tunnel, told, prevented));
      if (process.argv.includes("--output")) console.log(told.output, prevented.output);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  await appliance.stop();
} finally {
  world.remove();
}
