/** What the benchmarks decide with: a rule with lists of some size, a feed, one container. */
import { systemClock } from "../../src/clock.ts";
import type { Container } from "../../src/container/types.ts";
import { compileFeeds } from "../../src/feed/compile.ts";
import { openFeeds } from "../../src/feed/index.ts";
import { parseAddresses, parseDomains } from "../../src/feed/parse.ts";
import type { FeedSource } from "../../src/feed/types.ts";
import { compilePolicy } from "../../src/policy/policy.ts";
import type { FeedIndex, Policy } from "../../src/policy/types.ts";

const LISTED = 100_000;
const SEED = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);

/** A feed of names and one of addresses, 100,000 entries each. */
function benchFeeds(): FeedIndex {
  const encode = (lines: string[]): Uint8Array => new TextEncoder().encode(lines.join("\n"));
  const names = Array.from({ length: LISTED }, (_, index) => `listed${index}.bad${index % 991}.example`);
  const addresses = Array.from(
    { length: LISTED },
    (_, index) => `11.${index >> 16}.${(index >> 8) & 255}.${index & 255}`,
  );
  const source = (name: string, kind: FeedSource["kind"]): FeedSource => ({
    name,
    path: name,
    kind,
    match: "suffix",
    enabled: true,
  });
  const lists = [
    { source: source("names", "domain"), parsed: parseDomains(encode(names), "suffix") },
    { source: source("addresses", "address"), parsed: parseAddresses(encode(addresses)) },
  ];
  const loadedAt = systemClock.now();
  return openFeeds(
    compileFeeds(
      lists.map(({ source: from, parsed }) => ({
        source: from,
        entries: parsed.entries,
        status: {
          name: from.name,
          kind: from.kind,
          entries: parsed.count,
          refused: parsed.refused,
          samples: parsed.samples,
          loadedAt,
          error: null,
        },
      })),
      SEED,
    ),
  );
}

/** `feeds`: absent, 100,000 names and as many addresses. */
export function benchPolicy(feeds: FeedIndex = benchFeeds(), revision = 1): Policy {
  const denied = Array.from({ length: 1000 }, (_, index) => `.denied${index}.example`);
  const allowed = ["*.allowed.example", "intranet.example"];
  return compilePolicy(
    {
      version: 1,
      rules: [
        {
          name: "bench",
          dns: { effect: "prevent", denied, allowed, intelligence: "prevent" },
          network: {
            effect: "alert",
            outboundAddresses: { denied: ["198.18.0.0/15"], allowed: ["10.0.0.0/8"] },
            outboundPorts: { denied: [25, "6660-6669"] },
            intelligence: "prevent",
          },
        },
      ],
    },
    feeds,
    { revision, host: "bench" },
  );
}

export function benchContainer(address: string, vethIndex = 0): Container {
  return {
    id: "b".repeat(64),
    name: "bench",
    image: "docker.io/library/bench:latest",
    imageDigest: `sha256:${"0".repeat(64)}`,
    namespace: null,
    labels: {},
    state: "running",
    pid: 1,
    startedAt: 1,
    networkNamespace: "",
    networkMode: "bridge",
    networks: [{ id: "n", name: "bridge", bridge: "lo", vethIndex, veth: "", addresses: [address] }],
  };
}
