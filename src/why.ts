/** `tidesman why`: decides without acting, and says all that spoke. */
import { parseAddress } from "./address.ts";
import type { AuditContainer } from "./audit/record.ts";
import type { Container } from "./container/types.ts";
import type { WhyTarget } from "./control/target.ts";
import type { Judgement, WhyReport } from "./control/types.ts";
import type { Parts } from "./daemon.ts";
import { TidesmanError } from "./errors.ts";
import { nameToWire } from "./name.ts";
import type { InternalPrefixes } from "./packet/internet.ts";
import { describe } from "./policy/describe.ts";
import type { Address, Decision, PolicyEvent, Profile } from "./policy/types.ts";

const TYPE_A = 1;
const PROTOCOLS = { tcp: 6, udp: 17, sctp: 132, icmp: 1, icmpv6: 58 } as const;

/** What of the host decides beside policy. */
export interface WhyAround {
  readonly internal: InternalPrefixes;
  /** Whether what is sent to port 53 of any address arrives at the DNS proxy. */
  readonly lookupsRedirected: boolean;
}

const LOOKUP_PORT = 53;

/** Judges a name, or a connection with the names that the container resolved its address from. */
export async function why(
  parts: Parts,
  around: WhyAround,
  container: Container,
  target: WhyTarget,
): Promise<WhyReport> {
  const notes: string[] = [];
  const sender = senderOf(parts, container, notes);
  const profile = profileOf(parts, sender);
  if (profile.rule === null) notes.push("no rule governs this container: nothing of it is judged");
  if (sender.state === "blocked") notes.push("the container is blocked: whatever it sends is dropped");
  const spared = parts.blocking.spared().find(({ id }) => id === sender.id);
  if (spared !== undefined) notes.push(`the container is not stopped by \`block\`: ${spared.reason}`);
  const judged =
    target.kind === "name"
      ? { subject: target.name, names: [], judgements: judgeName(parts, profile, target.name) }
      : await judgeConnection(parts, around, sender, profile, target, notes);
  return {
    container: auditContainer(container),
    state: container.state,
    rule: profile.rule,
    dnsEffect: profile.dnsEffect,
    networkEffect: profile.networkEffect,
    model: profile.model === null ? null : { key: profile.model.key, state: profile.model.state },
    target: judged.subject,
    judgements: judged.judgements,
    names: [...judged.names],
    notes,
    revision: parts.revisions.revision,
  };
}

/** Who the container is taken for by what it sends: whoever's network it shares. Notes where that is not itself. */
function senderOf(parts: Parts, container: Container, notes: string[]): Container {
  const { networkMode } = container;
  if (networkMode === "host") notes.push("the container is in the host's network: what it sends is not seen");
  if (networkMode === "none") notes.push("the container has no network");
  if (!networkMode.startsWith("container:")) return container;
  const owner = parts.registry.find(networkMode.slice("container:".length));
  if (owner === undefined) return container;
  notes.push(`the container shares the network of \`${owner.name}\`: what it sends is judged as that one's`);
  return owner;
}

function judgeName(parts: Parts, profile: Profile, name: string): Judgement[] {
  const wire = nameToWire(name);
  if (wire === null) throw new TidesmanError("TM_USAGE", `\`${name}\` is no domain name`);
  return [judge(parts, { kind: "query", profile, name: wire, type: TYPE_A }, `${name} (A)`)];
}

async function judgeConnection(
  parts: Parts,
  around: WhyAround,
  container: Container,
  profile: Profile,
  target: Extract<WhyTarget, { kind: "connection" }>,
  notes: string[],
): Promise<{ subject: string; names: readonly string[]; judgements: Judgement[] }> {
  const { address, port, protocol, assumed } = target;
  const destination = parseAddress(address) as Address;
  const names = await parts.data.names(container.id, address);
  const internet = !around.internal.contains(destination, 0, destination.length);
  if (assumed) notes.push(`no port was given; ${port}/${protocol} was judged`);
  if (!internet) notes.push("the address is internal: lists and models of outbound ports do not concern it");
  const place = address.includes(":") ? `[${address}]` : address;
  const subject = `${place}:${port}/${protocol}`;
  if (around.lookupsRedirected && port === LOOKUP_PORT && (protocol === "udp" || protocol === "tcp")) {
    const message = `connection to ${subject} ends at the DNS proxy, whatever its address: lookups are judged by name`;
    const judgement: Judgement = {
      event: "connection",
      subject,
      message,
      verdict: "allow",
      effect: null,
      attackType: null,
      rule: profile.rule,
      reasons: [],
    };
    return { subject, names, judgements: [judgement] };
  }
  const event: PolicyEvent = {
    kind: "connection",
    profile,
    protocol: PROTOCOLS[protocol],
    destination,
    port,
    internet,
    names,
  };
  return { subject, names, judgements: [judge(parts, event, subject)] };
}

function judge(parts: Parts, event: PolicyEvent, subject: string): Judgement {
  const decision: Decision = parts.revisions.policy.decide(event);
  return {
    event: event.kind,
    subject,
    message: describe(decision, event),
    verdict: decision.verdict,
    effect: decision.effect,
    attackType: decision.attackType,
    rule: decision.rule,
    reasons: decision.reasons.map((reason) => ({ ...reason })),
  };
}

/** By name, by id, or by the beginning of one. Throws TM_NOT_FOUND. */
export function findContainer(parts: Parts, nameOrId: string): Container {
  const container = parts.registry.find(nameOrId);
  if (container !== undefined) return container;
  throw new TidesmanError(
    "TM_NOT_FOUND",
    `there is no container \`${nameOrId}\`; \`tidesman containers\` lists them`,
  );
}

/** The profile of a container in the revision in force, with its model and its exemptions as they stand. */
export function profileOf(parts: Parts, container: Container): Profile {
  const key = parts.models.keyOf(container);
  return parts.revisions.policy.profileFor(
    container,
    key === null ? null : parts.models.view(key),
    parts.exemptions.of(container.id),
  );
}

export function auditContainer(container: Container): AuditContainer {
  const { id, name, image, imageDigest, namespace, labels } = container;
  return { id, name, image, imageDigest, namespace, labels };
}
