/** Findings about lookups, in words that an operator reads without a manual. */
import { formatAddress } from "../address.ts";
import type { Resident } from "../container/table.ts";
import { wireToName } from "../name.ts";
import type { Decision, Finding, Reason } from "../policy/types.ts";
import type { Answer } from "./answer.ts";
import { rcodeName, typeName } from "./message.ts";

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
  time: number,
): Finding {
  const name = wireToName(asking.name);
  const type = typeName(asking.type);
  return {
    time,
    type: "dns",
    attackType: decision.attackType ?? "suspiciousDNS",
    effect: decision.effect ?? "alert",
    container: resident.container.id,
    rule: decision.rule,
    message: `lookup of ${name} (${type}) ${found(decision.reasons[0], answer)}`,
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

/** What the deciding reason says, as the end of a sentence. */
function found(reason: Reason | undefined, answer: Answer | null): string {
  if (reason === undefined) return "was found suspicious";
  if (reason.subject === undefined) return ofReason(reason);
  const isAddress = answer?.addresses.some((bytes) => formatAddress(bytes) === reason.subject) ?? false;
  const how = isAddress ? "was answered with" : "is an alias of";
  return `${how} ${reason.subject}, which ${ofReason(reason)}`;
}

function ofReason(reason: Reason): string {
  switch (reason.kind) {
    case "feed":
      return `is listed by feed ${reason.feed}`;
    case "denied":
      return `is denied by \`${reason.entry}\` in ${reason.list}`;
    case "model":
      return "is not in the model of its image";
    case "error":
      return `could not be decided: ${reason.message}`;
    case "detection":
      return reason.message ?? "was found suspicious";
    case "allowed":
      return `is allowed by \`${reason.entry}\` in ${reason.list}`;
  }
}
