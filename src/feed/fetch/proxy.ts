/** Which proxy a URL is fetched through, as the environment says (the conventions of curl, wget and Go). */
import { BlockList, isIP } from "node:net";

export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * The proxy for `url`, or null for none. `http_proxy` and `https_proxy` name it by the scheme of `url`, lower case first;
 * a value without a scheme means http. `no_proxy` is a list, by commas or spaces, of hosts that are reached without: a name
 * (and all below it, with or without a leading dot), `*.name` (only those below), an address, a prefix, each with an
 * optional `:port`, or `*` for all.
 */
export function proxyFor(url: URL, environment: Environment): string | null {
  const variable = url.protocol === "https:" ? "https_proxy" : "http_proxy";
  const proxy = of(environment, variable);
  if (proxy === "" || isExempt(url, of(environment, "no_proxy"))) return null;
  return proxy.includes("://") ? proxy : `http://${proxy}`;
}

function of(environment: Environment, name: string): string {
  return (environment[name] || environment[name.toUpperCase()] || "").trim();
}

function isExempt(url: URL, list: string): boolean {
  const host = url.hostname.replace(/^\[(.*)\]$/, "$1").replace(/(.)\.$/, "$1");
  const port = url.port || (url.protocol === "https:" ? "443" : "80");
  return list
    .toLowerCase()
    .split(/[\s,]+/)
    .some((entry) => {
      const [, bracketed, plain, only] = /^(?:\[(.*)\]|([^:]*|.*:.*:.*?))(?::(\d+))?$/.exec(entry) ?? [];
      // An IPv6 address with a port needs brackets; without them its last group is no port.
      const bare = bracketed === undefined && isIP(entry) === 6;
      const target = bare ? entry : (bracketed ?? plain ?? "");
      if (target === "" || (!bare && only !== undefined && only !== port)) return false;
      return target === "*" || (isIP(host) > 0 ? coversAddress(target, host) : coversName(target, host));
    });
}

function coversName(entry: string, host: string): boolean {
  if (entry.startsWith("*.")) return host.endsWith(entry.slice(1));
  const name = entry.replace(/^\./, "").replace(/\.$/, "");
  return host === name || host.endsWith(`.${name}`);
}

function coversAddress(entry: string, host: string): boolean {
  const [address = "", bits] = entry.split("/");
  const version = isIP(address);
  if (version === 0 || version !== isIP(host)) return false;
  const family = version === 6 ? "ipv6" : "ipv4";
  const length = bits === undefined ? (version === 6 ? 128 : 32) : Number(bits);
  if (!Number.isInteger(length) || length < 0 || length > (version === 6 ? 128 : 32)) return false;
  const prefix = new BlockList();
  prefix.addSubnet(address, length, family);
  return prefix.check(host, family);
}
