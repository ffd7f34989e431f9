/** Is the time right? Audits, feeds and certificates go by it. */
import type { Check } from "../patient.ts";
import { verdictsOf } from "../verdict.ts";

const { ok, warning, problem, unknown } = verdictsOf("clock");

/** No host that runs this lives earlier: a clock that says so was never set. */
const EARLIEST = Date.UTC(2026, 0, 1);
const SET = "set it, and let it be kept (systemctl enable --now systemd-timesyncd, or chrony)";

export const clock: Check = async ({ host, status }) => {
  const now = host.now();
  const time = new Date(now).toISOString();
  if (now < EARLIEST) return [problem(`it says ${time}, which is past`, SET)];
  const started = status === null ? 0 : Date.parse(status.startedAt);
  const oldest = status?.audits.oldest == null ? 0 : Date.parse(status.audits.oldest);
  if (Math.max(started, oldest) > now + 1000)
    return [problem(`it says ${time}, and the daemon has seen a later time: it was set back`, SET)];
  const kept = await host.run("timedatectl", ["show", "-p", "NTPSynchronized", "--value"]);
  const said = kept.stdout.trim();
  if (said === "yes") return [ok(`${time}, kept by a time service`)];
  if (kept.status === 0 && said === "no") return [warning(`${time}, kept by no time service`, SET)];
  return [unknown(`${time}; whether a time service keeps it cannot be told`)];
};
