/** The table of checks. Each is by itself: one that fails is told as such, and the others go on. */
import { clock } from "./checks/clock.ts";
import { conntrack } from "./checks/conntrack.ts";
import { coverage } from "./checks/coverage.ts";
import { daemon } from "./checks/daemon.ts";
import { engine } from "./checks/engine.ts";
import { feeds } from "./checks/feeds.ts";
import { files } from "./checks/files.ts";
import { firewall } from "./checks/firewall.ts";
import { kernel } from "./checks/kernel.ts";
import { lookups } from "./checks/lookups.ts";
import { models } from "./checks/models.ts";
import { ports } from "./checks/ports.ts";
import { privileges } from "./checks/privileges.ts";
import { queue } from "./checks/queue.ts";
import { rawSockets } from "./checks/raw-sockets.ts";
import { storage } from "./checks/storage.ts";
import type { Check, Patient } from "./patient.ts";
import type { Verdict } from "./verdict.ts";

/** In the order in which they are shown: what explains others comes first. */
export const CHECKS: Readonly<Record<string, Check>> = {
  daemon,
  files,
  privileges,
  kernel,
  firewall,
  queue,
  conntrack,
  engine,
  coverage,
  lookups,
  ports,
  feeds,
  models,
  "raw sockets": rawSockets,
  storage,
  clock,
};

/** Every verdict of every check, at least one each. */
export async function examine(
  patient: Patient,
  checks: Readonly<Record<string, Check>> = CHECKS,
): Promise<readonly Verdict[]> {
  const verdicts = Object.entries(checks).map(async ([check, look]): Promise<readonly Verdict[]> => {
    try {
      return await look(patient);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      return [{ check, level: "unknown", message: `the check failed: ${why}`, remedy: null }];
    }
  });
  return (await Promise.all(verdicts)).flat();
}
