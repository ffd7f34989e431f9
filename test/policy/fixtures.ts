/** Small doubles for the tests of decisions: feeds and models from lists, and events from text. */
import { parseAddress, parsePrefix, prefixContains } from "../../src/address.ts";
import { nameToWire, wireToName } from "../../src/name.ts";
import { parsePolicy } from "../../src/policy/parse.ts";
import { compilePolicy } from "../../src/policy/policy.ts";
import type {
  AnswerEvent,
  ConnectionEvent,
  ContainerFacts,
  FeedHit,
  FeedIndex,
  ListeningEvent,
  ModelView,
  Policy,
  Profile,
  QueryEvent,
  RawSocketEvent,
} from "../../src/policy/types.ts";

export interface FeedEntry {
  readonly feed: string;
  readonly entry: string;
  readonly effect?: FeedHit["effect"];
}

const NONE: readonly FeedHit[] = Object.freeze([]);

/** Names match with everything below them; addresses may be prefixes. */
export function feedsOf(entries: readonly FeedEntry[]): FeedIndex {
  const hit = ({ feed, entry, effect }: FeedEntry, match: FeedHit["match"]): FeedHit =>
    effect === undefined ? { feed, entry, match } : { feed, entry, match, effect };
  return {
    domain(bytes, offset) {
      const name = wireToName(bytes, offset).toLowerCase();
      const hits = entries
        .filter(({ entry }) => name === entry || name.endsWith(`.${entry}`))
        .map((one) => hit(one, one.entry === name ? "exact" : "suffix"));
      return hits.length === 0 ? NONE : hits;
    },
    address(bytes, offset, length) {
      const hits = entries
        .filter(({ entry }) => {
          const prefix = parsePrefix(entry);
          return prefix?.bytes.length === length && prefixContains(prefix, bytes, offset);
        })
        .map((one) => hit(one, "address"));
      return hits.length === 0 ? NONE : hits;
    },
  };
}

export function modelOf(
  state: ModelView["state"],
  names: readonly string[] = [],
  ports: readonly string[] = [],
  listening: readonly string[] = [],
): ModelView {
  return {
    key: "sha256:m",
    state,
    learning: state === "learning",
    name: (bytes, offset) => {
      const name = wireToName(bytes, offset);
      return (
        names.find((entry) => entry === name || (entry.startsWith("*.") && name.endsWith(entry.slice(1)))) ??
        null
      );
    },
    outboundPort: (protocol, port) => ports.includes(`${port}/${protocol}`),
    listeningPort: (protocol, port) => listening.includes(`${port}/${protocol}`),
  };
}

export const CONTAINER: ContainerFacts = {
  id: "c".repeat(64),
  name: "c1",
  image: "docker.io/library/nginx:1.27",
  imageDigest: `sha256:${"1".repeat(64)}`,
  namespace: null,
  labels: {},
};

/** `rule`: YAML of one rule's sections, indented by none. */
export function policyOf(rule: string, feeds: readonly FeedEntry[] | FeedIndex = []): Policy {
  const body = rule.replaceAll(/^/gm, "    ");
  const { policy } = parsePolicy(`version: 1\nrules:\n  - name: r\n${body}\n`, "policy.yaml");
  const index = "domain" in feeds ? feeds : feedsOf(feeds);
  return compilePolicy(policy, index, { revision: 7, host: "h1" });
}

export function bytesOf(address: string): Uint8Array {
  const bytes = parseAddress(address);
  if (bytes === null) throw new Error(`${address} is no address`);
  return bytes;
}
export function wireOf(name: string): Uint8Array {
  const wire = nameToWire(name);
  if (wire === null) throw new Error(`${name} is no name`);
  return wire;
}

export function query(profile: Profile, name: string, type = 1): QueryEvent {
  return { kind: "query", profile, name: wireOf(name), type };
}

/** `leadsTo`: addresses and, for everything else, hops. */
export function answer(
  profile: Profile,
  name: string,
  leadsTo: readonly string[],
  rcode = 0,
  type = 1,
): AnswerEvent {
  const isAddress = (text: string): boolean => parseAddress(text) !== null;
  return {
    kind: "answer",
    profile,
    name: wireOf(name),
    type,
    rcode,
    hops: leadsTo.filter((text) => !isAddress(text)).map(wireOf),
    addresses: leadsTo.filter(isAddress).map(bytesOf),
  };
}

/** `target`: `203.0.113.1:443/6` — address, port, IP protocol number. */
export function connection(
  profile: Profile,
  target: string,
  options: { readonly internet?: boolean; readonly names?: readonly string[] } = {},
): ConnectionEvent {
  const [, address = "", port, protocol] = /^(.*):(\d+)\/(\d+)$/.exec(target) ?? [];
  return {
    kind: "connection",
    profile,
    protocol: Number(protocol),
    destination: bytesOf(address),
    port: Number(port),
    internet: options.internet ?? true,
    names: options.names ?? ["x.example"],
  };
}

/** `target`: `0.0.0.0:8080/6` - address, port, IP protocol number. */
export function listening(profile: Profile, target: string): ListeningEvent {
  const { destination: address, protocol, port } = connection(profile, target);
  return { kind: "listening", profile, protocol, port, address };
}

export function rawSocket(profile: Profile, more: Partial<RawSocketEvent> = {}): RawSocketEvent {
  return { kind: "rawSocket", profile, socket: "packet", pid: 4711, command: "tcpdump", ...more };
}
