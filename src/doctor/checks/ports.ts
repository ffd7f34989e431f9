/** Are the ports that the daemon needs its own? */
import type { Check, Host } from "../patient.ts";
import { verdictsOf } from "../verdict.ts";

const { ok, problem } = verdictsOf("ports");

const TABLES = ["udp", "udp6", "tcp", "tcp6"] as const;
/** TCP_LISTEN; a UDP socket that is not connected has 07 (net/ipv4/tcp_ipv4.c and udp.c, seq_show). */
const LISTENING = { udp: "07", tcp: "0A" } as const;

export const ports: Check = async ({ host, config, status }) => {
  const { dns, console: page } = config;
  const wanted = [
    { port: dns.port, key: "dns.port", tables: TABLES },
    ...(page.port === 0 ? [] : [{ port: page.port, key: "console.port", tables: ["tcp", "tcp6"] as const }]),
  ];
  const taken = wanted.filter(({ port, tables }) => tables.some((table) => isBound(host, table, port)));
  if (status !== null) {
    const missing = wanted.filter((one) => !taken.includes(one));
    if (missing.length === 0) return [ok(`the daemon listens on ${list(wanted)}`)];
    return [problem(`nobody listens on ${list(missing)}`, "restart the daemon; its log says why")];
  }
  if (taken.length === 0) return [ok(`${list(wanted)} are free`)];
  // The socket unit holds the port of lookups while the daemon is away, so that they wait.
  const held = await host.run("systemctl", ["is-active", "tidesman.socket"]);
  const others = held.status === 0 ? taken.filter(({ port }) => port !== dns.port) : taken;
  if (others.length === 0) return [ok(`systemd holds port ${dns.port} for the daemon (tidesman.socket)`)];
  const keys = others.map(({ key }) => `\`${key}\``).join(", ");
  return [
    problem(
      `in use by another program: ${list(others)}`,
      `stop it (\`ss -lnptu\` names it), or choose another ${keys}`,
    ),
  ];
};

function list(some: readonly { readonly port: number; readonly key: string }[]): string {
  return some.map(({ port, key }) => `${port} (\`${key}\`)`).join(" and ");
}

function isBound(host: Host, table: (typeof TABLES)[number], port: number): boolean {
  const hex = port.toString(16).toUpperCase().padStart(4, "0");
  const state = table.startsWith("udp") ? LISTENING.udp : LISTENING.tcp;
  return (host.read(`/proc/net/${table}`) ?? "").split("\n").some((line) => {
    const [, local = "", , is = ""] = line.trim().split(/\s+/);
    return local.endsWith(`:${hex}`) && is === state;
  });
}
