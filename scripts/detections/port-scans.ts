/**
 * Real scanners and busy honest programs against the port scan detector, in network namespaces of their own; prints the
 * table of docs/detections.md. Slow scans take minutes. Needs root, nmap and hping3: `node scripts/detections/port-scans.ts`.
 */
import { BENIGN, SCANS, ScanWorld, SLOW_SCANS } from "../../test/detect/port-scan-world.ts";

const world = new ScanWorld("scans");
try {
  await world.start();
  console.log("| Tool | Found | Packets until then | Seconds |\n|---|---|---:|---:|");
  for (const trial of [...SCANS, ...SLOW_SCANS, ...BENIGN]) {
    const { detections, packets } = await world.run(trial);
    const found = detections.find(({ kind }) => trial.expected === null || kind === trial.expected);
    const kind = found?.kind.replace("PortScan", "") ?? "nothing";
    const verdict = (found === undefined) === (trial.expected === null) ? kind : `**${kind}**`;
    const seconds = found === undefined ? "" : (found.after / 1000).toFixed(1);
    console.log(`| ${trial.name} | ${verdict} | ${found?.packets ?? packets} | ${seconds} |`);
    if (process.argv.includes("--messages"))
      for (const { message } of detections) console.log(`    ${message}`);
  }
} finally {
  await world.remove();
}
