/** What a policy would have said of something that happened. Pure. */
import { describe } from "../policy/describe.ts";
import {
  type Address,
  type AttackType,
  type Change,
  type Decision,
  type DetectedType,
  EFFECTS,
  type Effect,
  type ListeningEvent,
  type Policy,
  type PolicyEvent,
  type Profile,
  type Reason,
  type SocketEvent,
  type WireName,
} from "../policy/types.ts";

/** What happened, whoever did it. */
export type Happening =
  | {
      readonly kind: "lookup";
      readonly name: WireName;
      readonly type: number;
      /** Null when no answer was seen. */
      readonly answer: {
        readonly rcode: number;
        readonly hops: readonly WireName[];
        readonly addresses: readonly Address[];
      } | null;
    }
  | {
      readonly kind: "connection";
      readonly protocol: number;
      readonly destination: Address;
      readonly port: number;
      readonly internet: boolean;
      readonly names: readonly string[];
    }
  | ({ readonly kind: "listening" } & Pick<ListeningEvent, "protocol" | "port" | "address">)
  | { readonly kind: "rawSocket"; readonly message: string }
  /** What a detector found; `name`: of the lookup that it is about. */
  | {
      readonly kind: "detected";
      readonly attackType: DetectedType;
      readonly name: WireName | null;
      readonly reasons: readonly Reason[];
      readonly message: string;
    }
  /** What takes the effect of its section: a forged source, and (never more than an alert) what is no lookup. */
  | {
      readonly kind: "section";
      readonly section: "dns" | "network";
      readonly attackType: AttackType;
      readonly message: string;
    };

export interface Outcome {
  /** Null: nothing is found. */
  readonly effect: Exclude<Effect, "disable"> | null;
  readonly attackType: AttackType | null;
  /** Name of the governing rule; null when there is none. */
  readonly rule: string | null;
  readonly message: string;
}

const TYPE_A = 1;

export function judge(policy: Policy, profile: Profile, happening: Happening): Outcome {
  const decide = (event: PolicyEvent | SocketEvent, message?: string): Outcome => {
    const decision = policy.decide(event);
    return outcomeOf(decision, message ?? describe(decision, event));
  };
  switch (happening.kind) {
    case "lookup": {
      const { name, type, answer } = happening;
      const asked = decide({ kind: "query", profile, name, type });
      if (answer === null || drops(asked)) return asked;
      return moreSevere(asked, decide({ kind: "answer", profile, name, type, ...answer }));
    }
    case "connection":
    case "listening":
      return decide({ ...happening, profile });
    case "rawSocket":
      return decide({ kind: "rawSocket", profile, socket: "raw", pid: 0, command: "" }, happening.message);
    case "detected": {
      const { attackType, name, reasons, message } = happening;
      const weighed = outcomeOf(policy.weigh(profile, attackType, name, reasons), message);
      if (name === null) return weighed;
      // A name that a list denies is not asked for at all.
      return moreSevere(weighed, decide({ kind: "query", profile, name, type: TYPE_A }));
    }
    case "section": {
      const { section, attackType, message } = happening;
      const { rule, dnsEffect, networkEffect } = profile;
      const effect = section === "dns" ? dnsEffect : networkEffect;
      if (effect === "disable") return { effect: null, attackType: null, rule, message };
      return { effect: section === "dns" ? "alert" : effect, attackType, rule, message };
    }
  }
}

function outcomeOf({ effect, attackType, rule }: Decision, message: string): Outcome {
  return { effect, attackType, rule, message };
}

/** The first, between equals. */
function moreSevere(one: Outcome, other: Outcome): Outcome {
  return severity(other) > severity(one) ? other : one;
}

function severity({ effect }: Outcome): number {
  return effect === null ? 0 : EFFECTS.indexOf(effect);
}

export function drops({ effect }: Outcome): boolean {
  return effect === "prevent" || effect === "block";
}

/** Found when it is there already: there is nothing to be dropped. */
const NOT_DROPPED: ReadonlySet<Happening["kind"]> = new Set(["listening", "rawSocket"]);

/** Null: nothing. */
export function changeOf(happening: Happening, before: Outcome, after: Outcome): Change | null {
  if (before.effect === after.effect) return null;
  const scan = happening.kind === "detected" && happening.name === null;
  if (!NOT_DROPPED.has(happening.kind) && !scan && drops(before) !== drops(after))
    return drops(after) ? "newlyDenied" : "noLongerDenied";
  if (after.effect === "block") return "newlyBlocked";
  if (before.effect === "block") return "noLongerBlocked";
  return after.effect === null ? "noLongerAudited" : "newlyAudited";
}
