/**
 * What a thousand containers with a million different names or targets can make each part hold, in a process of its own for
 * each. The ceilings are what the parts say of themselves, with room for the engine's own bookkeeping.
 */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import t from "tap";
import { EXFILTRATION_DEFAULTS } from "../../src/detect/exfiltration-options.ts";
import { MAX_NAMES } from "../../src/model/model.ts";
import type { Held } from "./bounds-load.ts";

t.setTimeout(300_000);
const CONTAINERS = 1000;
const KIB = 1024;

async function measure(part: string): Promise<Held> {
  const program = new URL("bounds-load.ts", import.meta.url).pathname;
  const { stdout } = await promisify(execFile)(process.execPath, ["--expose-gc", program, part]);
  return JSON.parse(stdout);
}

/** By part: most KiB for each of the thousand containers, and what its counts must be. */
const BOUNDS: Readonly<Record<string, readonly [number, (counts: Held["counts"]) => boolean]>> = {
  exfiltration: [
    200,
    ({ domains = 0, bytes = 0 }) =>
      domains <= CONTAINERS * EXFILTRATION_DEFAULTS.domains && bytes <= CONTAINERS * 110 * KIB,
  ],
  generatedNames: [12, ({ containers }) => containers === CONTAINERS],
  portScan: [300, ({ containers }) => containers === CONTAINERS],
  firstContacts: [48, ({ bytes = 0 }) => bytes <= CONTAINERS * 32 * KIB],
  incidents: [160, ({ containers }) => containers === CONTAINERS],
  // Fifty models, each as full as it can be.
  models: [200, ({ models, names, dropped = 0 }) => models === 50 && names === MAX_NAMES && dropped > 0],
};

for (const [part, [most, holds]] of Object.entries(BOUNDS)) {
  t.test(`${part} is bounded`, async (t) => {
    const { bytes, counts } = await measure(part);
    t.ok(holds(counts), JSON.stringify(counts));
    t.ok(bytes <= most * KIB * CONTAINERS, `${(bytes / CONTAINERS / KIB).toFixed(1)} KiB a container`);
  });
}
