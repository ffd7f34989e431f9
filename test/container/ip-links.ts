/** `Native.links` and `watchLinks` by the `ip` command: slow, and independent of the addon. */
import { execFileSync, spawn } from "node:child_process";
import type { Link, Native } from "../../src/native/types.ts";

interface IpLink {
  ifindex: number;
  ifname: string;
  link_index?: number;
  master?: string;
  address?: string;
  operstate: string;
  linkinfo?: { info_kind?: string };
  addr_info: { local?: string; prefixlen?: number }[];
}

function links(namespace?: string): readonly Link[] {
  const command = ["ip", "-json", "-details", "address"];
  if (namespace !== undefined) command.unshift("nsenter", `--net=${namespace}`);
  const [program = "", ...parameters] = command;
  const rows = JSON.parse(
    execFileSync(program, parameters, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }),
  ) as IpLink[];
  const indexes = new Map(rows.map((row) => [row.ifname, row.ifindex]));
  return rows.map((row) => ({
    index: row.ifindex,
    name: row.ifname,
    peer: row.link_index ?? 0,
    master: row.master === undefined ? 0 : (indexes.get(row.master) ?? 0),
    kind: row.linkinfo?.info_kind ?? "",
    up: row.operstate === "UP",
    hardwareAddress: row.address ?? "",
    addresses: row.addr_info.flatMap(({ local, prefixlen }) => (local ? [`${local}/${prefixlen}`] : [])),
  }));
}

function watchLinks(onChange: () => void): () => void {
  const monitor = spawn("ip", ["monitor", "link", "address"], { stdio: ["ignore", "pipe", "ignore"] });
  monitor.stdout.on("data", onChange);
  return () => monitor.kill();
}

export const ipLinks: Pick<Native, "links" | "watchLinks"> = { links, watchLinks };
