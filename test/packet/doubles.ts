/** What the tests of the packet handler on real netfilter share: decisions, a profile, and containers as an engine would tell them. */
import type { Container } from "../../src/container/types.ts";
import type { Link } from "../../src/native/types.ts";
import type { Decision, Profile } from "../../src/policy/types.ts";
import { BRIDGE } from "./network.ts";

export const ALLOW: Decision = {
  verdict: "allow",
  effect: null,
  attackType: null,
  rule: "test",
  reasons: [],
  learn: false,
  revision: 1,
};
export const DENY: Decision = {
  ...ALLOW,
  verdict: "drop",
  effect: "prevent",
  attackType: "explicitlyDeniedIP",
};
export const PROFILE: Profile = {
  index: 0,
  rule: "test",
  model: null,
  dnsEffect: "prevent",
  networkEffect: "prevent",
  suspicious: "disable",
  portScan: "disable",
};

/** The container behind `veth<number>`, one of the links of its host. */
export function containerBehind(number: number, links: readonly Link[]): Container {
  const veth = `veth${number}`;
  return {
    id: `c${number}`,
    name: `c${number}`,
    image: "docker.io/library/test:latest",
    imageDigest: "sha256:0",
    namespace: null,
    labels: {},
    state: "running",
    pid: 1,
    startedAt: 1,
    networkNamespace: "",
    networkMode: "bridge",
    networks: [
      {
        id: "n",
        name: "n",
        bridge: BRIDGE,
        veth,
        vethIndex: links.find(({ name }) => name === veth)?.index ?? 0,
        addresses: [`172.30.0.${number}`, `2001:db8:d0::${number}`],
      },
    ],
  };
}
