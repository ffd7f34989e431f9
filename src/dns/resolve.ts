/**
 * The whole life of a lookup, read top to bottom: limit, decide the question, cache, upstream, decide the answer, bind,
 * reply.
 *
 * The order is the security of it. Nothing leaves the host before the question is decided; nothing reaches the container
 * before the answer is. Identical lookups share a cache entry and an exchange, never a decision: what one container may
 * know another may not. A cached answer is decided again for each container, and the shortcut past that (decisions.ts)
 * is taken only where this container got this very answer under this very policy and there was nothing to say.
 *
 * Replies are made in place: `lookup` returns the bytes of the reply that stands where the query stood, or 0 when there
 * is none, or none yet; then it goes to the asker that was kept.
 *
 * Length: the life of a lookup is one story; told in two files, nobody would see its order.
 */
import type { Clock } from "../clock.ts";
import type { DnsConfig } from "../config.ts";
import type { Resident } from "../container/table.ts";
import { nameToWire, wireToName } from "../name.ts";
import type { Decision, Finding, Observation, Policy, Profile } from "../policy/types.ts";
import { type Answer, bareAnswer, parseAnswer, sameName } from "./answer.ts";
import type { AnswerCache } from "./cache.ts";
import { Decisions, Situation } from "./decisions.ts";
import { lookupFinding, malformedFinding, merge } from "./findings.ts";
import { Rates } from "./limits.ts";
import { type Asker, Lookup, type Origin } from "./lookup.ts";
import { parseQuery, QUERY_IGNORE, QUERY_OK, Query, RCODE, TYPE } from "./message.ts";
import { Prevention } from "./prevent.ts";
import type { Provenance } from "./provenance.ts";
import {
  appendOpt,
  copyBytes,
  EDE_NONE,
  EDE_STALE,
  optRoom,
  setAuthentic,
  writeAnswer,
  writeAnyReply,
  writeHeader,
  writeNegative,
  writeRefusal,
  writeTruncated,
} from "./reply.ts";
import type { Upstreams } from "./upstream.ts";
import type { Watch } from "./watch.ts";

export interface ResolveStats {
  lookups: number;
  /** Answered from the cache by a decision taken before, and after a new one. */
  shortcuts: number;
  cached: number;
  prevented: number;
  malformed: number;
  refused: number;
  /** Dropped because the container asked too often, or asked for too much at a time. */
  limited: number;
  overloaded: number;
  stale: number;
  failed: number;
}

export interface ResolverOptions {
  readonly clock: Clock;
  readonly config: DnsConfig;
  readonly cache: AnswerCache;
  readonly provenance: Provenance;
  readonly upstreams: Upstreams;
  readonly policy: () => Policy;
  readonly isCurrent: (resident: Resident) => boolean;
  readonly report: (finding: Finding, resident: Resident) => void;
  readonly observe: (observation: Observation) => void;
  readonly watch?: Watch;
  /** A lookup under way threw when its answer came; it gets no reply. */
  readonly failed: (error: unknown) => void;
  /** Makes hashes unpredictable. */
  readonly seed: number;
}

/** RFC 8767, section 4: how long an asker may keep a stale answer. */
const STALE_TTL = 30;
/** Seconds after which even a clean answer is decided and bound again, so that bindings in use stay young. */
const CLEAN_TIME = 60;
/** Malformed messages told per container and second; the rest are counted. */
const MALFORMED_RATE = 2;
const LARGEST = 65_535;
/** Browsers ask for it to learn whether the network filters DNS; "no such name" keeps them from going around us. */
const CANARY = nameToWire("use-application-dns.net") ?? new Uint8Array();
const UNBOUNDED = { minTTL: 0, maxTTL: 0x7fffffff, maxNegativeTTL: 0x7fffffff };

export class Resolver {
  readonly stats: ResolveStats = {
    lookups: 0,
    shortcuts: 0,
    cached: 0,
    prevented: 0,
    malformed: 0,
    refused: 0,
    limited: 0,
    overloaded: 0,
    stale: 0,
    failed: 0,
  };
  readonly #options: ResolverOptions;
  readonly #cache: AnswerCache;
  readonly #decisions = new Decisions();
  readonly #situation = new Situation();
  readonly #query = new Query();
  readonly #rates: Rates;
  readonly #malformed = new Rates(MALFORMED_RATE);
  readonly #prevention: Prevention;
  /** Lookups under way, by container: none may fill the table for all. */
  readonly #waiting = new Map<Resident, number>();
  readonly #share: number;
  /** Room for late replies, and for cached answers that are decided anew. */
  readonly #reply = new Uint8Array(LARGEST + 64);
  readonly #scratch = new Uint8Array(LARGEST + 64);
  readonly #settled = (lookup: Lookup, answer: Answer | null, now: number): void => {
    const asker = this.#stopWaiting(lookup);
    if (asker === null) return;
    try {
      this.#settle(lookup, asker, answer, now);
    } catch (error) {
      asker.release();
      this.#options.failed(error);
    }
  };

  constructor(options: ResolverOptions) {
    this.#options = options;
    this.#cache = options.cache;
    this.#rates = new Rates(options.config.rate);
    this.#prevention = new Prevention(options.config);
    this.#share = Math.max(Math.floor(options.config.maxInFlight / 2), 1);
  }

  /**
   * The query of `length` bytes at `bytes[at]`, from a container that is known. `bytes` has room there for the largest
   * reply. Returns the length of the reply in place, or 0.
   */
  lookup(bytes: Uint8Array, at: number, length: number, resident: Resident, origin: Origin): number {
    const query = this.#query;
    const now = this.#options.clock.monotonic();
    this.stats.lookups++;
    if (resident.cut) return 0;
    if (!this.#rates.take(resident, now)) {
      this.stats.limited++;
      return 0;
    }
    const refusal = parseQuery(bytes, at, length, query, this.#options.seed);
    if (refusal !== QUERY_OK) return this.#refuse(bytes, at, refusal, resident, now);

    // The shortcut: answered before, to this container, under this policy, with nothing to say about it.
    const second = Math.floor(now / 1000) | 0;
    const { udpSize } = this.#options.config;
    const limit = origin.datagram ? Math.min(query.size, Math.max(udpSize, 512)) : LARGEST;
    const policy = this.#options.policy();
    const entry = this.#cache.probe(query);
    const expires = entry >= 0 ? this.#cache.expires : 0;
    const fresh = entry >= 0 && expires > second;
    if (fresh && this.#decisions.isClean(this.#situationOf(entry, resident, policy), second)) {
      this.stats.shortcuts++;
      return this.#copyCached(bytes, at, limit, second);
    }

    // The question, before anything leaves the host.
    const lookup = new Lookup(query, bytes, at, limit, resident, this.#settled);
    const { profile } = resident;
    if (isJudged(profile)) {
      const decision = policy.decide({ kind: "query", profile, name: lookup.name, type: lookup.type });
      if (decision.verdict === "drop") return this.#prevent(bytes, at, lookup, decision, null);
      lookup.decision = decision;
      if (profile.suspicious !== "disable") {
        const seen = this.#options.watch?.("query", resident, lookup, null) ?? "clean";
        if (seen === "drop") return this.#withhold(bytes, at, lookup);
        lookup.suspicious = seen === "told";
      }
    }
    if (lookup.type === TYPE.ANY) {
      this.#tell(lookup, lookup.decision, null);
      return writeAnyReply(bytes, at, lookup, udpSize);
    }
    if (sameName(lookup.name, CANARY)) {
      this.#tell(lookup, lookup.decision, null);
      return writeNegative(bytes, at, lookup, RCODE.NXDOMAIN, udpSize, EDE_NONE);
    }

    if (fresh) {
      const answer = this.#cachedAnswer(lookup, second);
      if (answer !== null) {
        this.stats.cached++;
        return this.#conclude(bytes, at, lookup, answer, EDE_NONE, now);
      }
    }
    lookup.canBeStale = entry >= 0 && expires + this.#options.config.cache.serveStale > second;
    return this.#forward(bytes, at, lookup, origin, now);
  }

  /** Asks the upstreams; the reply comes later, from `#settle`. */
  #forward(bytes: Uint8Array, at: number, lookup: Lookup, origin: Origin, now: number): number {
    const { resident } = lookup;
    const under = this.#waiting.get(resident) ?? 0;
    if (under < this.#share) {
      lookup.asker = origin.keep();
      this.#waiting.set(resident, under + 1);
      if (this.#options.upstreams.ask(lookup, now)) return 0;
      this.#stopWaiting(lookup)?.release();
    }
    this.stats.overloaded++;
    this.#tell(lookup, lookup.decision, null);
    return resident.cut ? 0 : writeRefusal(bytes, at, lookup, RCODE.SERVFAIL, this.#options.config.udpSize);
  }

  /** What an upstream said, or (null) that none did. */
  #settle(lookup: Lookup, asker: Asker, fromUpstream: Answer | null, now: number): void {
    const { resident } = lookup;
    // The container may be gone by now, or cut off, and its address another's.
    if (resident.cut || !this.#options.isCurrent(resident)) {
      asker.release();
      return;
    }

    let answer = fromUpstream;
    let extendedError = EDE_NONE;
    const failed = answer === null || (answer.rcode !== RCODE.NOERROR && answer.rcode !== RCODE.NXDOMAIN);
    if (failed) {
      const second = this.#staleSecond(lookup, now);
      const stale = second < 0 ? null : this.#cachedAnswer(lookup, second);
      if (stale !== null) {
        this.stats.stale++;
        extendedError = EDE_STALE;
        answer = stale;
      }
    }
    if (answer === null) {
      this.stats.failed++;
      answer = bareAnswer(lookup.head, RCODE.SERVFAIL);
    }
    copyBytes(lookup.head, 0, this.#reply, 0, lookup.end);
    const length = this.#conclude(this.#reply, 0, lookup, answer, extendedError, now);
    if (length > 0) asker.send(this.#reply, length);
    else asker.release();
  }

  /** The asker that was kept, once. */
  #stopWaiting(lookup: Lookup): Asker | null {
    const { asker, resident } = lookup;
    if (asker === null) return null;
    lookup.asker = null;
    const under = (this.#waiting.get(resident) ?? 1) - 1;
    if (under > 0) this.#waiting.set(resident, under);
    else this.#waiting.delete(resident);
    return asker;
  }

  /** Decides the answer; then binds, observes, and writes the reply behind the question at `bytes[at]`. */
  #conclude(
    bytes: Uint8Array,
    at: number,
    lookup: Lookup,
    answer: Answer,
    extendedError: number,
    now: number,
  ): number {
    const { resident } = lookup;
    const { profile } = resident;
    const { rcode, hops, addresses } = answer;
    const policy = this.#options.policy();
    let decision: Decision | null = null;
    if (isJudged(profile)) {
      const { name, type } = lookup;
      // Policy may have changed while the lookup was under way: then the question is decided by the new one.
      if (lookup.decision?.revision !== policy.revision) {
        lookup.decision = policy.decide({ kind: "query", profile, name, type });
        if (lookup.decision.verdict === "drop")
          return this.#prevent(bytes, at, lookup, lookup.decision, answer);
      }
      decision = policy.decide({ kind: "answer", profile, name, type, rcode, hops, addresses });
      const question = lookup.decision;
      const alike = question.effect !== null && question.attackType === decision.attackType;
      if (alike) decision = merge(question, decision);
      else this.#tell(lookup, question, answer);
      if (decision.verdict === "drop") return this.#prevent(bytes, at, lookup, decision, answer);
      if (profile.suspicious !== "disable") {
        const seen = this.#options.watch?.("answer", resident, lookup, answer) ?? "clean";
        if (seen === "drop") return this.#withhold(bytes, at, lookup);
        lookup.suspicious ||= seen === "told";
      }
    }
    this.#tell(lookup, decision, answer);
    if (resident.cut) return 0;

    this.#options.provenance.bind(resident, lookup.name, answer.hops, answer.addresses, answer.lifetime, now);
    this.#remember(lookup, answer, decision, policy, now);
    return writeAnswer(bytes, at, lookup, answer, lookup.limit, this.#options.config.udpSize, extendedError);
  }

  /** Teaches the model, and opens the shortcut for an answer that is cached and about which there is nothing to say. */
  #remember(lookup: Lookup, answer: Answer, decision: Decision | null, policy: Policy, now: number): void {
    const { resident } = lookup;
    const second = Math.floor(now / 1000) | 0;
    const entry = this.#cache.probe(lookup);
    const fresh = entry >= 0 && this.#cache.expires > second;
    const situation = this.#situationOf(entry, resident, policy);
    const model = resident.profile?.model ?? null;
    const answered = answer.rcode === RCODE.NOERROR && answer.answerCount > 0;
    if (
      decision?.learn &&
      !lookup.suspicious &&
      model?.learning &&
      answered &&
      !(fresh && this.#decisions.isKnown(situation))
    ) {
      this.#options.observe({
        kind: "name",
        model: model.key,
        container: resident.container.id,
        name: wireToName(lookup.name),
        time: this.#options.clock.now(),
      });
    }
    const clean =
      !lookup.suspicious && (lookup.decision?.effect ?? null) === null && (decision?.effect ?? null) === null;
    if (fresh && clean) {
      this.#decisions.setClean(situation, Math.min(this.#cache.expires, second + CLEAN_TIME));
    }
  }

  /** The cached answer as if an upstream had just given it; null when it is gone. */
  #cachedAnswer(lookup: Lookup, second: number): Answer | null {
    if (this.#cache.probe(lookup) < 0) return null;
    const cache = this.#cache;
    const scratch = this.#scratch;
    copyBytes(lookup.head, 0, scratch, 0, lookup.end);
    writeHeader(scratch, 0, cache.rcode, cache.answerCount, cache.authorityCount);
    if (cache.authentic) setAuthentic(scratch, 0);
    cache.copy(scratch, lookup.end, second, STALE_TTL);
    return parseAnswer(
      scratch,
      0,
      lookup.end + cache.length,
      lookup.end,
      lookup.name,
      lookup.type,
      UNBOUNDED,
    );
  }

  /** The second it is now when an expired answer is at hand that may still be served; -1 when not. */
  #staleSecond(lookup: Lookup, now: number): number {
    const { serveStale } = this.#options.config.cache;
    if (serveStale === 0 || this.#cache.probe(lookup) < 0) return -1;
    const second = Math.floor(now / 1000) | 0;
    return this.#cache.expires + serveStale > second ? second : -1;
  }

  /** The entry that was just found, behind the question in place. */
  #copyCached(bytes: Uint8Array, at: number, limit: number, second: number): number {
    const query = this.#query;
    const cache = this.#cache;
    const { udpSize } = this.#options.config;
    const length = query.end + cache.length;
    if (length + optRoom(query) > limit) return writeTruncated(bytes, at, query, cache.rcode, udpSize);
    cache.copy(bytes, at + query.end, second, STALE_TTL);
    writeHeader(bytes, at, cache.rcode, cache.answerCount, cache.authorityCount);
    if (query.wantsAuthentic && cache.authentic) setAuthentic(bytes, at);
    return appendOpt(bytes, at, length, query, udpSize, 0, EDE_NONE);
  }

  #situationOf(entry: number, resident: Resident, policy: Policy): Situation {
    const situation = this.#situation;
    situation.entry = entry;
    situation.entryGeneration = entry < 0 ? 0 : this.#cache.generation;
    situation.residentSlot = resident.slot;
    situation.residentGeneration = resident.generation;
    situation.revision = policy.revision;
    situation.profile = resident.profile?.index ?? -1;
    situation.bindingEpoch = this.#options.provenance.epoch(resident);
    return situation;
  }

  #prevent(bytes: Uint8Array, at: number, lookup: Lookup, decision: Decision, answer: Answer | null): number {
    this.stats.prevented++;
    this.#tell(lookup, decision, answer);
    return lookup.resident.cut ? 0 : this.#prevention.write(bytes, at, lookup);
  }

  /** Prevented by what many lookups say together, which has been told. */
  #withhold(bytes: Uint8Array, at: number, lookup: Lookup): number {
    this.stats.prevented++;
    return lookup.resident.cut ? 0 : this.#prevention.write(bytes, at, lookup);
  }

  #tell(lookup: Lookup, decision: Decision | null, answer: Answer | null): void {
    const { resident } = lookup;
    const { profile } = resident;
    if (decision === null || decision.effect === null || profile === null) return;
    const { report, clock } = this.#options;
    report(lookupFinding(decision, lookup, answer, resident, profile, clock.now()), resident);
  }

  /** What is no lookup that we serve, for which the parser has named the rcode. */
  #refuse(bytes: Uint8Array, at: number, refusal: number, resident: Resident, now: number): number {
    const query = this.#query;
    if (query.fault === "") this.stats.refused++;
    else {
      this.stats.malformed++;
      if (isJudged(resident.profile) && resident.profile.dnsEffect !== "disable") {
        this.#tellMalformed(refusal, resident, now);
      }
    }
    if (refusal === QUERY_IGNORE || resident.cut) return 0;
    return writeRefusal(bytes, at, query, refusal, this.#options.config.udpSize);
  }

  #tellMalformed(refusal: number, resident: Resident, now: number): void {
    if (!this.#malformed.take(resident, now)) return;
    const query = this.#query;
    const { report, policy, clock } = this.#options;
    const asking =
      query.end === 0 ? null : { name: query.key.subarray(0, query.nameLength), type: query.type };
    const rcode = refusal < 0 ? null : refusal;
    report(malformedFinding(query.fault, asking, rcode, resident, policy().revision, clock.now()), resident);
  }
}

function isJudged(profile: Profile | null): profile is Profile {
  return profile !== null && profile.rule !== null;
}
