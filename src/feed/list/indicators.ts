/** Indicators as threat intelligence exchanges write them: names, addresses, endpoints and URLs. */
import type { ListEntries } from "./entries.ts";

/** A URL of nothing but a host: no port, path, query or user. */
const HOST_ALONE = /^(?:https?|ftp):\/\/(?:\[([\da-f:.]+)\]|([^\s/:?#@[\]]+))\/?$/i;
const ENDPOINT = /^(?:\[([\da-f:.]+)\]|([^\s:]+)):\d{1,5}$/i;

/** Takes the host of a URL that names nothing else: a URL is no verdict about the host that many pages may share. */
export function addURL(out: ListEntries, url: string): string | null {
  const [, ipv6, host = ipv6] = HOST_ALONE.exec(url.trim()) ?? [];
  if (host === undefined) return "a URL names a page, not its whole host";
  return out.addText(host, "whole");
}

/** Takes the host of `host:port`, or a host alone. */
export function addEndpoint(out: ListEntries, endpoint: string): string | null {
  const [, ipv6, host = ipv6] = ENDPOINT.exec(endpoint.trim()) ?? [];
  return out.addText(host ?? endpoint.trim(), "feed");
}
