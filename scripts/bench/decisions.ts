/** Decisions per second of the policy engine itself, beside the plain way: a walk over the suffixes with a `Set`. */
import { nameToWire, wireToName } from "../../src/name.ts";
import type { PolicyEvent } from "../../src/policy/types.ts";
import { nameOf } from "./names.ts";
import { benchContainer, benchPolicy } from "./world.ts";

const ROUNDS = 5;
const EVENTS = 10_000;
const REPEATS = 20;

export interface DecisionRates {
  readonly lookups: number;
  readonly connections: number;
  /** Names per second when each is made text and each suffix of it looked up in a `Set<string>` of the listed ones. */
  readonly suffixWalks: number;
}

export function measureDecisions(): DecisionRates {
  const policy = benchPolicy();
  const profile = policy.profileFor(benchContainer("192.0.2.7"), null);
  const texts = Array.from({ length: EVENTS }, (_, index) => nameOf(index));
  const lookups = texts.map(
    (text): PolicyEvent => ({ kind: "query", profile, name: nameToWire(text) ?? new Uint8Array(), type: 1 }),
  );
  const connections = texts.map(
    (_, index): PolicyEvent => ({
      kind: "connection",
      profile,
      protocol: 6,
      destination: Uint8Array.of(93, 184, index >> 8, index & 255),
      port: 443,
      internet: true,
      names: [],
    }),
  );
  const listed = new Set(texts.map((text) => `${text}.listed`));
  const walk = (event: PolicyEvent): void => {
    if (event.kind !== "query") return;
    let suffix = wireToName(event.name);
    while (!listed.has(suffix)) {
      const dot = suffix.indexOf(".");
      if (dot < 0) return;
      suffix = suffix.slice(dot + 1);
    }
  };
  return {
    lookups: median(() => rate(() => lookups.forEach((event) => void policy.decide(event)))),
    connections: median(() => rate(() => connections.forEach((event) => void policy.decide(event)))),
    suffixWalks: median(() => rate(() => lookups.forEach(walk))),
  };
}

function rate(pass: () => void): number {
  const began = performance.now();
  for (let repeat = 0; repeat < REPEATS; repeat++) pass();
  return (EVENTS * REPEATS * 1000) / (performance.now() - began);
}

function median(measure: () => number): number {
  return Array.from({ length: ROUNDS }, measure).sort((a, b) => a - b)[ROUNDS >> 1] ?? 0;
}
