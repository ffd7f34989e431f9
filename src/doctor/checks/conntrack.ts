/** The connection table: a full one drops every new connection of the host, and flows keep their verdict in it. */
import type { Check } from "../patient.ts";
import { verdictsOf } from "../verdict.ts";

const { ok, warning, problem, unknown } = verdictsOf("conntrack");

const SYSCTL = "/proc/sys/net/netfilter";
const PERCENT = { high: 80, full: 95 } as const;

export const conntrack: Check = ({ host }) => {
  const read = (name: string): number => Number(host.read(`${SYSCTL}/${name}`) ?? Number.NaN);
  const count = read("nf_conntrack_count");
  const most = read("nf_conntrack_max");
  if (Number.isNaN(count) || Number.isNaN(most) || most === 0)
    return [unknown("the module nf_conntrack is not loaded yet; the first rule loads it")];
  const percent = Math.floor((100 * count) / most);
  const filled = `${count} of ${most} connections (${percent} %)`;
  const remedy = `sysctl -w net.netfilter.nf_conntrack_max=${most * 2}`;
  if (percent >= PERCENT.full)
    return [problem(`${filled}: new connections of the whole host are about to be dropped`, remedy)];
  if (percent >= PERCENT.high) return [warning(`${filled}: the table is filling up`, remedy)];
  const bytes = read("nf_conntrack_acct") === 1 ? "counted" : "not counted, which nothing here needs";
  return [ok(`${filled}; bytes of flows are ${bytes} (nf_conntrack_acct)`)];
};
