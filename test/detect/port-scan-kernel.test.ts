/** Real scanners and busy honest programs behind the real packet queue and connection table. */
import t from "tap";
import { namespaceRefusal } from "../packet/network.ts";
import { FILE_LIMIT } from "../packet/world.ts";
import { BENIGN, SCANS, ScanWorld, toolRefusal } from "./port-scan-world.ts";

t.setTimeout(FILE_LIMIT);
const refusal = namespaceRefusal() ?? (await toolRefusal());
const skip = refusal === null ? {} : { skip: refusal };

t.test("every scan is found, and nothing else", skip, async (t) => {
  const world = new ScanWorld("scans");
  t.teardown(() => world.remove());
  await world.start();
  for (const trial of SCANS) {
    const { detections } = await world.run(trial);
    const kinds = detections.map(({ kind }) => kind);
    t.ok(trial.expected !== null && kinds.includes(trial.expected), `${trial.name}: ${kinds.join()}`);
  }
  for (const trial of BENIGN) {
    const { detections } = await world.run(trial);
    t.strictSame(detections, [], trial.name);
  }
});
