/** The packet queue: who reads it, and what it could not keep (net/netfilter/nfnetlink_queue.c, seq_show). */
import type { Check } from "../patient.ts";
import { verdictsOf } from "../verdict.ts";

const { ok, warning, problem } = verdictsOf("queue");

/** Share of the queue from which it is nearly full. */
const NEARLY = 0.8;

export const queue: Check = ({ host, config, status }) => {
  const { queue: number, queueLength } = config.network;
  const text = host.read("/proc/net/netfilter/nfnetlink_queue") ?? "";
  const rows = text.split("\n").map((line) => line.trim().split(/\s+/).map(Number));
  const row = rows.find((fields) => fields[0] === number);
  if (row === undefined) {
    if (status === null) return [ok(`number ${number} is free`)];
    return [
      problem(
        `nobody reads queue ${number}: new connections take the fail mode`,
        "restart the daemon (systemctl restart tidesman); its log says why",
      ),
    ];
  }
  // Number, port id, waiting, mode, range, found full, found the reader's buffer full.
  const [, owner = 0, waiting = 0, , , dropped = 0, userDropped = 0] = row;
  if (status === null) {
    const message = `queue ${number} is read by somebody else (netlink port ${owner}, usually its process id)`;
    return [problem(message, "stop that program, or choose another number with `network.queue`")];
  }
  const verdicts = [];
  if (dropped > 0)
    verdicts.push(
      warning(
        `${dropped} packets found the queue full and took the fail mode`,
        "raise `network.queueLength`",
      ),
    );
  if (userDropped > 0) {
    const message = `${userDropped} packets did not fit into the reader's buffer`;
    verdicts.push(warning(message, "give the daemon CAP_NET_ADMIN, or raise net.core.rmem_max"));
  }
  if (waiting >= NEARLY * queueLength) {
    const message = `${waiting} of ${queueLength} packets wait: decisions come too slowly`;
    verdicts.push(
      warning(message, "see `tidesman status` for the rate guard, and what else keeps the CPU busy"),
    );
  }
  const { verdictErrors } = status.queue;
  if (verdictErrors > 0)
    verdicts.push(warning(`the kernel refused ${verdictErrors} verdicts`, "see the log"));
  const failed = status.packets.errors + status.dns.errors;
  if (failed > 0)
    verdicts.push(warning(`${failed} packets or lookups failed while they were decided`, "see the log"));
  if (verdicts.length > 0) return verdicts;
  return [ok(`number ${number}: ${waiting} of ${queueLength} packets wait, none was lost`)];
};
