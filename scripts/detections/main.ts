/** `npm run detections`: the tables of docs/detections.md. The first two need root and the tools; the third `TIDESMAN_DATA`. */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";

const DATA = process.env.TIDESMAN_DATA ?? resolve(import.meta.dirname, "../../../shared/data");

function run(script: string, ...args: string[]): void {
  const { status } = spawnSync(process.execPath, [join(import.meta.dirname, script), ...args], {
    stdio: "inherit",
  });
  if (status !== 0) process.exitCode = 1;
}

if (process.getuid?.() === 0) {
  run("port-scans.ts");
  process.stdout.write("\n");
  run("tunnels.ts");
} else
  process.stdout.write(
    "The tables of scanners and tunnels need root: they make network namespaces of their own.\n",
  );
process.stdout.write("\n");
const families = join(DATA, "dga");
if (existsSync(families)) run("generated-names.ts", families);
else
  process.stdout.write("The table of generated names needs TIDESMAN_DATA, a folder with dga/FAMILY.txt.\n");
