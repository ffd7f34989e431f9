/** How raw sockets are found: tracing sees short-lived ones, looking at tables does not. */
import { TRACEFS } from "../../detect/sockets/trace-instance.ts";
import type { Check } from "../patient.ts";
import { verdictsOf } from "../verdict.ts";

const { ok, warning } = verdictsOf("raw sockets");
const MOUNT = "mount -t tracefs nodev /sys/kernel/tracing, and run the daemon as root";

export const rawSockets: Check = ({ host, config, status }) => {
  const { rawSource, interval } = config.detectors.sockets;
  const look = `looking at tables every ${interval / 1000} s; those that live for moments are not seen`;
  if (status === null) {
    if (rawSource === "tables") return [ok(`by ${look} (\`detectors.sockets.rawSource\`)`)];
    if (TRACEFS.some((place) => host.read(`${place}/available_tracers`) !== null))
      return [ok("tracefs is there: the daemon will trace")];
    return [warning(`tracefs cannot be used: ${look}`, MOUNT)];
  }
  const { source, reason } = status.rawSockets;
  if (source === "trace") return [ok("found by tracing socket(2), however short they live")];
  const why = `by ${look} (${reason ?? "no reason given"})`;
  return rawSource === "tables" ? [ok(why)] : [warning(why, MOUNT)];
};
