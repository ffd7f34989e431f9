/** Can audits and models be kept? */
import type { Check } from "../patient.ts";
import { verdictsOf } from "../verdict.ts";

const { ok, warning, problem } = verdictsOf("storage");

const MEBIBYTE = 1 << 20;
/** Free bytes below which the next audits may find no room, and below which it is time to act. */
const LEAST = 64 * MEBIBYTE;
const LOW = 512 * MEBIBYTE;

export const storage: Check = ({ host, places, config, status }) => {
  const { stateDirectory: path } = places;
  const verdicts = [];
  const access = host.access(path);
  if (access === "refused" && status === null)
    verdicts.push(warning(`this user may not write to \`${path}\``, "run this and the daemon as root"));
  if (access === "absent" && status === null)
    verdicts.push(ok(`\`${path}\` will be made at the first start`));
  if (status?.audits.error != null) {
    const message = `audits cannot be written: ${status.audits.error}`;
    verdicts.push(problem(message, `see what is wrong with \`${path}\``));
  }
  const space = host.space(path);
  if (space !== null) {
    const free = `${Math.round(space.free / MEBIBYTE)} MiB are free below \`${path}\``;
    const most = `audits take ${Math.round(config.audits.retention.size / MEBIBYTE)} MiB at most`;
    const remedy = "make room, or lower `audits.retention.size`";
    if (space.free < LEAST) verdicts.push(problem(`${free}: what is found is about to be lost`, remedy));
    else if (space.free < LOW) verdicts.push(warning(`${free}; ${most}`, remedy));
    else verdicts.push(ok(`${free}; ${most}`));
  }
  return verdicts;
};
