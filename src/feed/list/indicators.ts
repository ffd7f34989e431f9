/** Indicators as threat intelligence exchanges write them: names, addresses, endpoints and URLs. */
import type { ListEntries } from "./entries.ts";

/** A URL of nothing but a host: no port, path, query or user. */
const HOST_ALONE = /^(?:https?|ftp):\/\/(?:\[([\da-f:.]+)\]|([^\s/:?#@[\]]+))\/?$/i;
const ENDPOINT = /^(?:\[([\da-f:.]+)\]|([^\s:]+)):\d{1,5}$/i;

/** Takes the host of a URL that names nothing else: a URL is no verdict about the host that many pages may share. */
export function addURL(out: ListEntries, url: string): string | null {
  if (out.kind === "url") return out.addText(url.trim());
  const host = hostOf(url);
  return host === null ? A_PAGE : out.addText(host, "whole");
}

/** Why most URLs are no entries. */
export const A_PAGE = "a URL names a page, not its whole host";

/** The host of a URL that names nothing else; null for all other text. */
export function hostOf(url: string): string | null {
  const [, ipv6, host = ipv6] = HOST_ALONE.exec(url.trim()) ?? [];
  return host ?? null;
}

/** Takes the host of `host:port`, or a host alone. */
export function addEndpoint(out: ListEntries, endpoint: string): string | null {
  const [, ipv6, host = ipv6] = ENDPOINT.exec(endpoint.trim()) ?? [];
  return out.addText(host ?? endpoint.trim(), "feed");
}
