/** Findings about lookups, in words that an operator reads without a manual. */
import { formatAddress } from "../address.ts";
import type { Resident } from "../container/table.ts";
import { wireToName } from "../name.ts";
import { describe } from "../policy/describe.ts";
import {
  type AnswerEvent,
  type Decision,
  EFFECTS,
  type Finding,
  type PolicyEvent,
  type Profile,
} from "../policy/types.ts";
import { typeName } from "../record-type.ts";
import type { Answer } from "./answer.ts";
import { rcodeName } from "./message.ts";

/** The question that a finding is about. */
export interface Asking {
  /** Folded wire form. */
  readonly name: Uint8Array;
  readonly type: number;
}

/** What was found about a lookup; `answer` null as long as there is none. The decision must have an effect. */
export function lookupFinding(
  decision: Decision,
  asking: Asking,
  answer: Answer | null,
  resident: Resident,
  profile: Profile,
  time: number,
): Finding {
  const name = wireToName(asking.name);
  const type = typeName(asking.type);
  const asked = { profile, name: asking.name, type: asking.type };
  const event: PolicyEvent =
    answer === null ? { kind: "query", ...asked } : { kind: "answer", ...asked, ...answerFacts(answer) };
  return {
    time,
    type: "dns",
    attackType: decision.attackType ?? "suspiciousDNS",
    effect: decision.effect ?? "alert",
    container: resident.container.id,
    rule: decision.rule,
    message: describe(decision, event),
    dns: {
      name,
      type,
      answers:
        answer === null
          ? []
          : [
              ...answer.hops.map((hop) => wireToName(hop)),
              ...answer.addresses.map((bytes) => formatAddress(bytes)),
            ],
      rcode: answer === null ? null : rcodeName(answer.rcode),
    },
    connection: null,
    reasons: decision.reasons,
    revision: decision.revision,
    count: 1,
  };
}

function answerFacts({ rcode, hops, addresses }: Answer): Pick<AnswerEvent, "rcode" | "hops" | "addresses"> {
  return { rcode, hops, addresses };
}

/** The same found about question and answer is one finding: under the more severe of the two, with all reasons. */
export function merge(question: Decision, answer: Decision): Decision {
  const severity = ({ effect }: Decision): number => (effect === null ? 0 : EFFECTS.indexOf(effect));
  const [first, second] = severity(answer) > severity(question) ? [answer, question] : [question, answer];
  const told = new Set(first.reasons.map((reason) => JSON.stringify(reason)));
  const more = second.reasons.filter((reason) => !told.has(JSON.stringify(reason)));
  return { ...first, reasons: [...first.reasons, ...more] };
}

/** A message that was no well-formed lookup. `asking` null when its question could not be read. */
export function malformedFinding(
  fault: string,
  asking: Asking | null,
  rcode: number | null,
  resident: Resident,
  revision: number,
  time: number,
): Finding {
  return {
    time,
    type: "dns",
    attackType: "malformedDNS",
    effect: "alert",
    container: resident.container.id,
    rule: resident.profile?.rule ?? null,
    message: `malformed lookup: ${fault}`,
    dns:
      asking === null
        ? null
        : {
            name: wireToName(asking.name),
            type: typeName(asking.type),
            answers: [],
            rcode: rcode === null ? null : rcodeName(rcode),
          },
    connection: null,
    reasons: [{ kind: "detection", message: fault }],
    revision,
    count: 1,
  };
}
