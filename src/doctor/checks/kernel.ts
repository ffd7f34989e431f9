/** Modules, switches and address families that the packets' way needs. */
import type { Check } from "../patient.ts";
import { verdictsOf } from "../verdict.ts";

const { ok, warning, problem } = verdictsOf("kernel");

export const kernel: Check = ({ host }) => {
  const release = host.read("/proc/sys/kernel/osrelease")?.trim() ?? "of unknown release";
  const verdicts = host.kernelShortcomings().map((text) => {
    // Its text ends in what to do.
    const [message = text, remedy = null] = text.split(/; (?=run |install )/);
    return /has no module/.test(text) ? problem(message, remedy) : warning(message, remedy);
  });
  if (verdicts.length === 0)
    verdicts.push(ok(`${release}: NFQUEUE, conntrack, connmark, ipset and br_netfilter are there`));
  const off = host.read("/proc/sys/net/ipv6/conf/all/disable_ipv6")?.trim();
  if (host.read("/proc/net/if_inet6") === null || off === "1")
    verdicts.push(ok("IPv6 is off: nothing goes that way"));
  else verdicts.push(ok("IPv6 is on, and guarded like IPv4"));
  return verdicts;
};
