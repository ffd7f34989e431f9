/** All list formats, and which one a body is in. */
import type { ListFormatName } from "../types.ts";
import { feodo, threatfox, urlhaus } from "./abuse-ch.ts";
import { adblock } from "./adblock.ts";
import { bind } from "./bind.ts";
import { dnscrypt } from "./dnscrypt.ts";
import { dnsmasq } from "./dnsmasq.ts";
import { type ListFormat, sampleOf } from "./format.ts";
import { hosts } from "./hosts.ts";
import { misp } from "./misp.ts";
import { plain } from "./plain.ts";
import { rpz } from "./rpz.ts";
import { spamhaus } from "./spamhaus.ts";
import { stix } from "./stix.ts";
import { unbound } from "./unbound.ts";

/** Of two formats that explain a body equally well the first is taken, so the more specific stand first. */
const FORMATS: readonly ListFormat[] = [
  stix,
  misp,
  threatfox,
  urlhaus,
  feodo,
  spamhaus,
  unbound,
  dnsmasq,
  bind,
  rpz,
  adblock,
  hosts,
  dnscrypt,
  plain,
];

/** A format has to explain at least this share of the first lines. */
const ENOUGH = 0.5;

/** The format of that name. */
export function formatNamed(name: ListFormatName): ListFormat {
  return FORMATS.find((format) => format.name === name) ?? plain;
}

/** The format that explains the beginning of the body best; `plain`, which refuses line by line, when none does. */
export function detectFormat(body: Uint8Array): ListFormat {
  const sample = sampleOf(body);
  let best: ListFormat = plain;
  let highest = 0;
  for (const format of FORMATS) {
    const score = format.score(sample);
    if (score >= ENOUGH && score > highest) {
      highest = score;
      best = format;
    }
  }
  return best;
}
