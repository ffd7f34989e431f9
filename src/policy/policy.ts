/**
 * The decision: what policy says about one lookup, one answer, one connection. Pure and synchronous.
 *
 * The order is the product.
 *
 * 1. The first rule whose scope matches a container governs it, alone. Rules are never merged: an operator reads one rule
 *    and knows. A container that no rule matches is neither judged nor learned from.
 * 2. Within the rule, for one subject (a name, an address, a port): denied list, then allowed list, then intelligence
 *    feeds, then the model. The first that speaks decides; the others stay in the reasons, so that `why` can tell them.
 *    Deny comes first so that an exception can be cut out of a broad allow. Allow comes before feeds since feeds err, and
 *    the operator must be able to overrule them. The model comes last: it knows habits, not intentions.
 * 3. Each section has one effect (`alert` when it is given without); `deniedEffect` and `intelligence` replace it for
 *    their part, also where the section itself is `disable`. A part whose effect is `disable` does not speak at all. A
 *    feed's own effect goes before the rule's `intelligence`, unless that is `disable`.
 * 4. An event may have several subjects (the hops of an answer, the address and the port of a connection). Each is
 *    decided by itself; the most severe effect is the event's. Between equals: denied, feed, model, unresolved.
 * 5. A listening port or a raw socket is there when it is found: there is nothing to drop, so `prevent` tells it as `alert`
 *    does, and `block` blocks its container. Raw sockets have one effect, `alert` wherever connections are judged.
 * 6. An exemption, which an operator gave this one container for a time, comes before all of that (exemption.ts).
 * 7. An error inside counts as denied: the event is dropped and says so. It never blocks: stopping a container asks for
 *    evidence, and an error of ours is none.
 *
 * A lookup passes twice. `query` judges the name asked for. `answer` judges what the name leads to: every hop like a name
 * of its own (but not by the model, which knows only what was asked for), and every address against the feeds. What the
 * query's name has been told for already is not told again, unless it would be dropped: then policy changed in between.
 * An allow of the queried name speaks for the whole lookup, so a feed entry among its hops does not stop it; a deny among
 * them does. `outboundAddresses.denied` is not applied here: the connection itself will meet it.
 *
 * Weak points, knowingly: a name allowed by list may lead anywhere the deny lists do not name; a connection is judged by
 * address and port, and the names it was resolved from are told but do not change the verdict (an allowed name only keeps its
 * resolver from being one for encrypted lookups).
 *
 * Detections (rebinding, encrypted DNS, generated names) join as further candidates of their event, each with the effect
 * that its field of the rule names; they outrank neither a deny nor a feed of the same effect (see findings.ts).
 *
 * Where nothing is found about traffic no object is made: such decisions are shared per profile (see profile.ts).
 *
 * Length: the order of all kinds of events is the contract, and would be lost between files.
 */
import { formatAddress } from "../address.ts";
import { nameToWire, wireToName } from "../name.ts";
import type { NameMatch, NameMatcher } from "./domains.ts";
import { encryptedDNS } from "./encrypted-dns.ts";
import type { Exemptions } from "./exemption.ts";
import {
  type Candidate,
  candidate,
  drops,
  feedReason,
  hitEffect,
  rankCandidates,
  rankHits,
  tellable,
} from "./findings.ts";
import type { AddressMatch } from "./prefixes.ts";
import {
  CompiledProfile,
  type CompiledRule,
  compileRule,
  MODEL_DEVIATES,
  MODEL_LEARNS,
  MODEL_SILENT,
  PORT_LEARNS,
  PORT_SILENT,
  portOpinion,
} from "./profile.ts";
import { isInside, isPublicName } from "./rebinding.ts";
import type { PolicyFile } from "./schema.ts";
import type {
  AnswerEvent,
  AttackType,
  ConnectionEvent,
  ContainerFacts,
  Decision,
  DetectedType,
  FeedHit,
  FeedIndex,
  ListeningEvent,
  ModelView,
  Policy,
  PolicyEvent,
  Profile,
  QueryEvent,
  RawSocketEvent,
  Reason,
  SocketEvent,
  WireName,
} from "./types.ts";

const NO_HITS: readonly FeedHit[] = Object.freeze([]);
const TCP = 6;
const UDP = 17;
const SCTP = 132;
/** RR types whose answers an event shows as addresses or hops: A, AAAA, SVCB, HTTPS. */
const SHOWN_TYPES: ReadonlySet<number> = new Set([1, 28, 64, 65]);

/** Compiles checked rules against the feeds at hand. `host` is what scopes' `hosts` are compared with. */
export function compilePolicy(
  file: PolicyFile,
  feeds: FeedIndex,
  options: { readonly revision: number; readonly host: string },
): Policy {
  return new CompiledPolicy(file.rules.map(compileRule), feeds, options.revision, options.host);
}

class CompiledPolicy implements Policy {
  readonly revision: number;
  readonly #feeds: FeedIndex;
  readonly #host: string;
  readonly #rules: readonly CompiledRule[];
  /**
   * Profiles by exemptions, then by rule (null: no rule), then by model; exemptions and models that nobody holds any more take
   * their profiles along.
   */
  readonly #profiles = new WeakMap<object, Map<CompiledRule | null, WeakMap<object, CompiledProfile>>>();
  #profileCount = 0;

  constructor(rules: readonly CompiledRule[], feeds: FeedIndex, revision: number, host: string) {
    this.revision = revision;
    this.#feeds = feeds;
    this.#host = host;
    this.#rules = rules;
  }

  withFeeds(feeds: FeedIndex, revision: number): Policy {
    return new CompiledPolicy(this.#rules, feeds, revision, this.#host);
  }

  weigh(
    profile: Profile,
    attackType: DetectedType,
    name: WireName | null,
    reasons: readonly Reason[],
  ): Decision {
    if (!(profile instanceof CompiledProfile)) throw new Error("the profile was not made by a policy");
    const { dns, network } = profile;
    const effect = attackType === "suspiciousDNS" ? dns.suspicious : tellable(network.portScan);
    if (effect === "disable") return profile.unjudged;
    const exempt = name === null ? null : (profile.exemptions?.name(name) ?? null);
    if (exempt !== null) return this.#passed(profile, [exempt, ...reasons]);
    const allowed = name === null ? null : (dns.allowed?.find(name) ?? null);
    if (allowed !== null) {
      return this.#passed(profile, [{ kind: "allowed", list: "dns.allowed", ...allowed }, ...reasons]);
    }
    return this.#found(profile, [candidate(effect, attackType, reasons)], []);
  }

  profileFor(
    container: ContainerFacts,
    model: ModelView | null,
    exemptions: Exemptions | null = null,
  ): Profile {
    const rule = this.#rules.find(({ inScope }) => inScope(container, this.#host)) ?? null;
    let rules = this.#profiles.get(exemptions ?? NO_EXEMPTIONS);
    if (rules === undefined) {
      rules = new Map();
      this.#profiles.set(exemptions ?? NO_EXEMPTIONS, rules);
    }
    let profiles = rules.get(rule);
    if (profiles === undefined) {
      profiles = new WeakMap();
      rules.set(rule, profiles);
    }
    const key = model ?? NO_MODEL;
    let profile = profiles.get(key);
    if (profile === undefined) {
      profile = new CompiledProfile(this.#profileCount++, rule, model, exemptions, this.revision);
      profiles.set(key, profile);
    }
    return profile;
  }

  decide(event: PolicyEvent | SocketEvent): Decision {
    const { profile } = event;
    try {
      if (!(profile instanceof CompiledProfile)) throw new Error("the profile was not made by a policy");
      if (profile.exemptions === null) return this.#judge(profile, event);
      if (event.kind === "listening" || event.kind === "rawSocket") return this.#judge(profile, event);
      return this.#exempted(profile, profile.exemptions, event);
    } catch (error) {
      return this.#failed(event, error);
    }
  }

  #judge(profile: CompiledProfile, event: PolicyEvent | SocketEvent): Decision {
    switch (event.kind) {
      case "query":
        return profile.judgesNames ? this.#query(profile, event) : profile.unjudged;
      case "answer":
        return profile.judgesNames ? this.#answer(profile, event) : profile.unjudged;
      case "connection":
        return profile.judgesConnections ? this.#connection(profile, event) : profile.unjudged;
      case "listening":
        return profile.judgesListening ? this.#listening(profile, event) : profile.unjudged;
      case "rawSocket":
        return profile.network.rawSockets === "disable" ? profile.unjudged : this.#rawSocket(profile, event);
    }
  }

  /** Judged as any other, so that all that spoke is known; then what is exempt is let through, be it an error of ours. */
  #exempted(profile: CompiledProfile, exemptions: Exemptions, event: PolicyEvent): Decision {
    const judge = (part: PolicyEvent): Decision => {
      try {
        return this.#judge(profile, part);
      } catch (error) {
        return this.#failed(part, error);
      }
    };
    const decision = judge(event);
    const exempted = exemptions.of(event);
    if (exempted === null) return decision;
    const { reason, rest } = exempted;
    if (rest !== null && decision.effect !== null) {
      const found = judge(rest);
      if (found.effect !== null) return { ...found, reasons: [...found.reasons, reason] };
    }
    return { ...this.#passed(profile, [reason, ...decision.reasons]), learn: decision.learn };
  }

  #query(profile: CompiledProfile, event: QueryEvent): Decision {
    const { dns } = profile;
    const name = event.name;
    const denied = dns.denied?.find(name) ?? null;
    const allowed = dns.allowed?.find(name) ?? null;
    const hits = dns.intelligence === "disable" ? NO_HITS : this.#feeds.domain(name, 0);
    const model = dns.effect === "disable" ? null : profile.model;
    let opinion = MODEL_SILENT;
    if (model !== null) opinion = model.learning ? MODEL_LEARNS : (model.name(name, 0) ?? MODEL_DEVIATES);
    if (denied === null && hits.length === 0 && (allowed !== null || opinion !== MODEL_DEVIATES)) {
      return profile.cleanName(allowed, opinion);
    }

    const reasons: Reason[] = [];
    if (denied !== null) reasons.push({ kind: "denied", list: "dns.denied", ...denied });
    if (allowed !== null) reasons.push({ kind: "allowed", list: "dns.allowed", ...allowed });
    const ranked = rankHits(hits, dns.intelligence);
    for (const hit of ranked) reasons.push(feedReason(hit));
    const learned = profile.modelReason(opinion);
    if (learned !== null) reasons.push(learned);
    if (denied !== null) {
      return this.#found(profile, [candidate(dns.deniedEffect, "explicitlyDeniedDNS", reasons)], []);
    }
    if (allowed !== null) return this.#passed(profile, reasons);
    const first = ranked[0];
    return this.#found(
      profile,
      first === undefined
        ? [candidate(dns.effect, "unexpectedDNS", reasons)]
        : [candidate(hitEffect(first, dns.intelligence), "feedDNS", reasons)],
      [],
    );
  }

  #answer(profile: CompiledProfile, event: AnswerEvent): Decision {
    const { dns } = profile;
    const allowed = dns.allowed?.find(event.name) ?? null;
    let spoken = this.#speaksOf(profile, event.name);
    for (const hop of event.hops) spoken ||= this.#speaksOf(profile, hop);
    if (dns.intelligence !== "disable") {
      for (const address of event.addresses) spoken ||= this.#feedAddress(address).length > 0;
    }
    if (dns.suspicious !== "disable" && allowed === null) {
      for (const address of event.addresses) spoken ||= isInside(address);
    }
    if (spoken) return this.#judgeAnswer(profile, event, allowed);
    const learns = dns.effect !== "disable" && profile.model?.learning === true && wasAnswered(event);
    return profile.cleanName(allowed, learns ? MODEL_LEARNS : MODEL_SILENT);
  }

  /** Whether a denied list or a feed names it: then nothing is learned, whatever is decided. */
  #speaksOf(profile: CompiledProfile, name: WireName): boolean {
    const { dns } = profile;
    if (dns.denied !== null && dns.denied.find(name) !== null) return true;
    return dns.intelligence !== "disable" && this.#feeds.domain(name, 0).length > 0;
  }

  #judgeAnswer(profile: CompiledProfile, event: AnswerEvent, allowed: NameMatch | null): Decision {
    const { dns } = profile;
    const judgesFeeds = dns.intelligence !== "disable";
    const candidates: Candidate[] = [];
    const others: Reason[] = [];
    if (allowed !== null) others.push({ kind: "allowed", list: "dns.allowed", ...allowed });

    const asked = rankHits(judgesFeeds ? this.#feeds.domain(event.name, 0) : NO_HITS, dns.intelligence);
    const denied = dns.denied?.find(event.name) ?? null;
    const aboutAsked: Reason[] = asked.map((hit) => feedReason(hit));
    if (denied !== null) aboutAsked.unshift({ kind: "denied", list: "dns.denied", ...denied });
    // An alert was told at the query; here only what should have been stopped there becomes a finding again.
    const [first] = asked;
    if (denied !== null && drops(dns.deniedEffect)) {
      candidates.push(candidate(dns.deniedEffect, "explicitlyDeniedDNS", aboutAsked));
    } else if (denied === null && allowed === null && first && drops(hitEffect(first, dns.intelligence))) {
      candidates.push(candidate(hitEffect(first, dns.intelligence), "feedDNS", aboutAsked));
    } else others.push(...aboutAsked);

    for (const hop of event.hops) {
      const hopDenied = dns.denied?.find(hop) ?? null;
      const [first, ...rest] = rankHits(judgesFeeds ? this.#feeds.domain(hop, 0) : NO_HITS, dns.intelligence);
      if (hopDenied === null && first === undefined) continue;
      const subject = wireToName(hop);
      const reasons: Reason[] =
        first === undefined ? [] : [first, ...rest].map((hit) => feedReason(hit, subject));
      const hopAllowed = dns.allowed?.find(hop) ?? null;
      if (hopAllowed !== null)
        reasons.unshift({ kind: "allowed", list: "dns.allowed", ...hopAllowed, subject });
      if (hopDenied !== null) {
        reasons.unshift({ kind: "denied", list: "dns.denied", ...hopDenied, subject });
        candidates.push(candidate(dns.deniedEffect, "explicitlyDeniedDNS", reasons));
      } else if (first === undefined || allowed !== null || hopAllowed !== null) others.push(...reasons);
      else candidates.push(candidate(hitEffect(first, dns.intelligence), "feedDNS", reasons));
    }

    for (const address of judgesFeeds ? event.addresses : []) {
      const [first, ...rest] = rankHits(this.#feedAddress(address), dns.intelligence);
      if (first === undefined) continue;
      const subject = formatAddress(address);
      const reasons: Reason[] = [first, ...rest].map((hit) => feedReason(hit, subject));
      const addressAllowed = profile.network.addressAllowed?.find(address) ?? null;
      if (addressAllowed !== null) reasons.unshift({ ...allowedAddress(addressAllowed), subject });
      if (allowed !== null || addressAllowed !== null) others.push(...reasons);
      else candidates.push(candidate(hitEffect(first, dns.intelligence), "feedIP", reasons));
    }
    const rebound =
      dns.suspicious !== "disable" && allowed === null && isPublicName(event.name)
        ? event.addresses.filter(isInside)
        : [];
    if (rebound.length > 0) {
      const reasons = rebound.map((address): Reason => {
        const subject = formatAddress(address);
        return {
          kind: "detection",
          list: "dns.suspicious",
          subject,
          message: "an address inside of a public name",
        };
      });
      candidates.push(candidate(dns.suspicious, "dnsRebinding", reasons));
    }
    if (candidates.length > 0) return this.#found(profile, candidates, others);
    if (others.length > 0) return this.#passed(profile, others);
    // An address inside of a name that may have one: nobody has said anything.
    const learns = dns.effect !== "disable" && profile.model?.learning === true && wasAnswered(event);
    return profile.cleanName(allowed, learns ? MODEL_LEARNS : MODEL_SILENT);
  }

  #connection(profile: CompiledProfile, event: ConnectionEvent): Decision {
    const { network } = profile;
    const { destination, protocol, port } = event;
    const denied = network.addressDenied?.find(destination) ?? null;
    const allowed = network.addressAllowed?.find(destination) ?? null;
    const hits = network.intelligence === "disable" ? NO_HITS : this.#feedAddress(destination);
    // ICMP has no port; lists and models of ports are about Internet destinations.
    const ported = event.internet && (protocol === TCP || protocol === UDP || protocol === SCTP);
    const portDenied = ported ? (network.portDenied?.find(port) ?? null) : null;
    const portAllowed = ported ? (network.portAllowed?.find(port) ?? null) : null;
    const model = ported && network.effect !== "disable" ? profile.model : null;
    let opinion = PORT_SILENT;
    let deviates = false;
    if (model?.learning) opinion = PORT_LEARNS;
    else if (model !== null) {
      deviates = !model.outboundPort(protocol, port);
      opinion = portOpinion(protocol, port, !deviates);
    }
    const unexpected = deviates && portDenied === null && portAllowed === null && allowed === null;
    const unresolved =
      network.unresolved !== "disable" && event.internet && event.names.length === 0 && allowed === null;
    const around =
      ported && protocol !== SCTP && network.effect !== "disable" && allowed === null && portAllowed === null
        ? encryptedDNS(destination, port, event.names)
        : null;
    const past = around === null || allowsOneOf(profile.dns.allowed, event.names) ? null : around;
    if (
      denied === null &&
      hits.length === 0 &&
      portDenied === null &&
      !unexpected &&
      !unresolved &&
      past === null
    ) {
      return profile.cleanConnection(allowed, portAllowed, opinion);
    }

    const candidates: Candidate[] = [];
    const others: Reason[] = [];
    const ranked = rankHits(hits, network.intelligence);
    const about: Reason[] = ranked.map((hit) => feedReason(hit));
    if (allowed !== null) about.unshift(allowedAddress(allowed));
    if (denied !== null) {
      about.unshift({ kind: "denied", list: "network.outboundAddresses.denied", ...denied });
      candidates.push(candidate(network.addressDeniedEffect, "explicitlyDeniedIP", about));
    } else if (allowed === null && ranked.length > 0) {
      candidates.push(candidate(hitEffect(ranked[0]!, network.intelligence), "feedIP", about));
    } else others.push(...about);

    const aboutPort: Reason[] = [];
    if (portDenied !== null) {
      aboutPort.push({ kind: "denied", list: "network.outboundPorts.denied", ...portDenied });
    }
    if (portAllowed !== null) {
      aboutPort.push({ kind: "allowed", list: "network.outboundPorts.allowed", ...portAllowed });
    }
    const learned = profile.portReason(opinion);
    if (learned !== null) aboutPort.push(learned);
    if (portDenied !== null) {
      candidates.push(candidate(network.portDeniedEffect, "explicitlyDeniedOutboundPort", aboutPort));
    } else if (unexpected) candidates.push(candidate(network.effect, "unexpectedOutboundPort", aboutPort));
    else others.push(...aboutPort);

    if (past !== null) {
      const reason: Reason = { kind: "detection", match: "none", ...past };
      candidates.push(candidate(network.effect, "encryptedDNS", [reason]));
    }
    if (unresolved) {
      const reason: Reason = { kind: "detection", list: "network.unresolved", match: "none" };
      candidates.push(candidate(network.unresolved, "unresolvedDestination", [reason]));
    }
    return candidates.length === 0 ? this.#passed(profile, others) : this.#found(profile, candidates, others);
  }

  /** Lists and models know the port alone: which address it is bound to is told and does not change the verdict. */
  #listening(profile: CompiledProfile, event: ListeningEvent): Decision {
    const { network } = profile;
    const { protocol, port } = event;
    const denied = network.listeningDenied?.find(port) ?? null;
    const allowed = network.listeningAllowed?.find(port) ?? null;
    const model = network.effect === "disable" ? null : profile.model;
    const learns = model?.learning === true;
    const deviates = model !== null && !learns && !model.listeningPort(protocol, port);

    const reasons: Reason[] = [];
    if (denied !== null) reasons.push({ kind: "denied", list: "network.listeningPorts.denied", ...denied });
    if (allowed !== null)
      reasons.push({ kind: "allowed", list: "network.listeningPorts.allowed", ...allowed });
    if (model !== null && !learns) {
      const learned = profile.portReason(portOpinion(protocol, port, !deviates));
      if (learned !== null) reasons.push(learned);
    }
    if (denied !== null) {
      const effect = tellable(network.listeningDeniedEffect);
      return this.#found(profile, [candidate(effect, "explicitlyDeniedListeningPort", reasons)], []);
    }
    if (deviates && allowed === null) {
      const effect = tellable(network.effect);
      return this.#found(profile, [candidate(effect, "unexpectedListeningPort", reasons)], []);
    }
    return { ...this.#passed(profile, reasons), learn: learns };
  }

  #rawSocket(profile: CompiledProfile, event: RawSocketEvent): Decision {
    const reason: Reason = { kind: "detection", list: "network.rawSockets", match: "none" };
    const subject = event.command === "" ? {} : { subject: event.command };
    const effect = tellable(profile.network.rawSockets);
    return this.#found(profile, [candidate(effect, "rawSocket", [{ ...reason, ...subject }])], []);
  }

  #feedAddress(address: Uint8Array): readonly FeedHit[] {
    return this.#feeds.address(address, 0, address.length === 4 ? 4 : 16);
  }

  /** The most severe candidate decides; its reasons come first, then the others', then `others`. */
  #found(profile: CompiledProfile, candidates: readonly Candidate[], others: readonly Reason[]): Decision {
    const [first, ...rest] = rankCandidates(candidates);
    return {
      verdict: drops(first!.effect) ? "drop" : "allow",
      effect: first!.effect,
      attackType: first!.attackType,
      rule: profile.rule,
      reasons: [...first!.reasons, ...rest.flatMap(({ reasons }) => reasons), ...others],
      learn: false,
      revision: this.revision,
    };
  }

  /** Nothing found, though a feed spoke and was overruled: never learned. */
  #passed(profile: CompiledProfile, reasons: readonly Reason[]): Decision {
    const none = { verdict: "allow", effect: null, attackType: null, learn: false } as const;
    return { ...none, rule: profile.rule, reasons, revision: this.revision };
  }

  #failed(event: PolicyEvent | SocketEvent, error: unknown): Decision {
    const message = error instanceof Error ? error.message : String(error);
    const there = event.kind === "listening" || event.kind === "rawSocket";
    return {
      verdict: there ? "allow" : "drop",
      effect: there ? "alert" : "prevent",
      attackType: FAILED_AS[event.kind],
      rule: event.profile.rule,
      reasons: [{ kind: "error", message }],
      learn: false,
      revision: this.revision,
    };
  }
}

/** What an event that could not be judged counts as. */
const FAILED_AS: Readonly<Record<(PolicyEvent | SocketEvent)["kind"], AttackType>> = {
  query: "explicitlyDeniedDNS",
  answer: "explicitlyDeniedDNS",
  connection: "explicitlyDeniedIP",
  listening: "explicitlyDeniedListeningPort",
  rawSocket: "rawSocket",
};

/** Stand for "no model" and "no exemptions" where an object is needed. */
const NO_MODEL: object = {};
const NO_EXEMPTIONS: object = {};

/** Whether a list allows one of the names that an address was resolved from. */
function allowsOneOf(allowed: NameMatcher | null, names: readonly string[]): boolean {
  if (allowed === null) return false;
  return names.some((name) => {
    const wire = nameToWire(name);
    return wire !== null && allowed.find(wire) !== null;
  });
}

function allowedAddress(match: AddressMatch): Reason {
  return { kind: "allowed", list: "network.outboundAddresses.allowed", ...match };
}

/**
 * Whether a lookup was answered, so that its name may be learned: never by NXDOMAIN or an answer without records. For
 * types whose records the event does not show, NOERROR is all there is to go by.
 */
function wasAnswered(event: AnswerEvent): boolean {
  if (event.rcode !== 0) return false;
  return event.hops.length > 0 || event.addresses.length > 0 || !SHOWN_TYPES.has(event.type);
}
