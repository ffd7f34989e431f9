/** Which upstreams to ask: those of the configuration, else those of the host's own resolv.conf(5). */
import { isIP } from "node:net";
import type { DnsConfig } from "../config.ts";
import { systemCode, TidesmanError } from "../errors.ts";
import type { UpstreamAddress } from "./upstream-server.ts";

const DNS_PORT = 53;
/** What is asked when no server is named (resolv.conf(5), "nameserver"). */
const LOCAL_SERVER = "127.0.0.1";
/** Where systemd-resolved writes the servers that stand behind its stub. */
const RESOLVED_SERVERS = "/run/systemd/resolve/resolv.conf";
const RESOLVED_STUBS = new Set(["127.0.0.53", "127.0.0.54"]);

/**
 * The upstreams to ask, in order. `readFile` throws when there is no such file. A stub of systemd-resolved is replaced
 * by the servers behind it where they are known; any other loopback address is asked as it is, for it is the host's own
 * resolver and we share its network. Our own port on loopback is left out: we would ask ourselves. When no server is
 * named, the host's own is asked, as the C library does. Throws TM_CONFIG for an upstream that is none.
 */
export function upstreamsOf(
  config: DnsConfig,
  readFile: (path: string) => string,
): readonly UpstreamAddress[] {
  if (config.upstreams.length > 0) return config.upstreams.map(parseUpstream);
  let servers = nameserversOf(read(config.resolvConf, readFile));
  if (servers.some((server) => RESOLVED_STUBS.has(server))) {
    const behind = realServers(readFile);
    if (behind.length > 0) servers = [...behind, ...servers.filter((server) => !RESOLVED_STUBS.has(server))];
  }
  if (servers.length === 0) servers = [LOCAL_SERVER];
  const upstreams = [...new Set(servers)]
    .map((address) => ({ address, port: DNS_PORT }))
    .filter(({ address, port }) => !(port === config.port && isLoopback(address)));
  if (upstreams.length > 0) return upstreams;
  throw new TidesmanError(
    "TM_CONFIG",
    `\`${config.resolvConf}\` names no server but ourselves: set \`dns.upstreams\``,
  );
}

/** `ADDRESS`, `ADDRESS:PORT`, `[ADDRESS]:PORT`; IPv6 may carry a `%zone`. Throws TM_CONFIG. */
export function parseUpstream(text: string): UpstreamAddress {
  const bracketed = /^\[([^\]]+)\](?::(\d+))?$/.exec(text);
  const plain = /^([^:]+)(?::(\d+))?$/.exec(text);
  const [, address = text, port = String(DNS_PORT)] = bracketed ?? plain ?? [];
  const number = Number(port);
  if (isIP(address) === 0 || number < 1 || number > 65535) {
    throw new TidesmanError(
      "TM_CONFIG",
      `\`${text}\` is no upstream: write \`ADDRESS\`, \`ADDRESS:PORT\` or \`[ADDRESS]:PORT\``,
    );
  }
  return { address, port: number };
}

/** Addresses of the `nameserver` lines, in order; lines that name none are passed over, as the C library does. */
export function nameserversOf(text: string): string[] {
  const servers: string[] = [];
  for (const line of text.split("\n")) {
    const match = /^nameserver[ \t]+(\S+)/.exec(line);
    if (match?.[1] !== undefined && isIP(match[1]) !== 0) servers.push(match[1]);
  }
  return servers;
}

function read(path: string, readFile: (path: string) => string): string {
  try {
    return readFile(path);
  } catch (error) {
    throw new TidesmanError(
      "TM_CONFIG",
      `\`${path}\` cannot be read (${systemCode(error)}): set \`dns.resolvConf\`, or \`dns.upstreams\``,
      { cause: error },
    );
  }
}

function realServers(readFile: (path: string) => string): string[] {
  try {
    return nameserversOf(readFile(RESOLVED_SERVERS)).filter((server) => !RESOLVED_STUBS.has(server));
  } catch {
    // The stub is configured by hand, or systemd-resolved is not running: then the stub is all there is.
    return [];
  }
}

function isLoopback(address: string): boolean {
  return address === "::1" || address.startsWith("127.");
}
