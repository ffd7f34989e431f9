/** Findings on their way to the audit log: those of the data thread, and those that the guard makes about itself. */
import { LRUCache } from "lru-cache";
import type { IncidentLog } from "./audit/incidents.ts";
import type { AuditContainer } from "./audit/record.ts";
import type { AuditLog } from "./audit/store.ts";
import type { Clock } from "./clock.ts";
import { addressesOf } from "./container/entry.ts";
import type { Registry } from "./container/registry.ts";
import type { Container } from "./container/types.ts";
import type { FeedReport } from "./control/types.ts";
import type { GivenExemption } from "./exemptions.ts";
import type { ModelStore } from "./model/store.ts";
import type { Native } from "./native/types.ts";
import { protocolName } from "./packet/finding.ts";
import type { Flood } from "./packet/ruleset.ts";
import { translationOf } from "./packet/translation.ts";
import { parseExempt } from "./policy/exemption.ts";
import type { Finding, Observation } from "./policy/types.ts";
import type { Revisions } from "./revisions.ts";
import { auditContainer } from "./why.ts";

/** Containers that ended, remembered for findings that come after their end. */
const MAX_ENDED = 1_000;

export interface FindingsOptions {
  readonly audits: AuditLog;
  readonly incidents: IncidentLog;
  readonly registry: Registry;
  readonly models: Pick<ModelStore, "updateReason" | "withdraw">;
  readonly revisions: Revisions;
  readonly clock: Clock;
  readonly native: Pick<Native, "conntrackStates">;
}

export class Findings {
  readonly #options: FindingsOptions;
  readonly #ended = new LRUCache<string, Container>({ max: MAX_ENDED });
  readonly #stale = new Set<string>();
  #rateGuardDrops = 0;

  constructor(options: FindingsOptions) {
    this.#options = options;
  }

  /** New connections and lookups that the kernel's rate guard dropped since the start. */
  get rateGuardDrops(): number {
    return this.#rateGuardDrops;
  }

  /** What deviates from the model soon after its image was updated says so, and so does what a model forgets for it. */
  audit(finding: Finding): void {
    const { models } = this.#options;
    const container = this.#facts(finding.container);
    const update = container === null ? null : models.updateReason(finding.reasons, container);
    const withdrawn = container === null ? null : models.withdraw(finding, container);
    const more = [update, withdrawn].filter((reason) => reason !== null);
    const known = more.length === 0 ? finding : { ...finding, reasons: [...finding.reasons, ...more] };
    const told = { ...known, message: known.message + this.#translation(finding) };
    const record = this.#options.audits.take(told, container);
    this.#options.incidents.observe(told, record, container);
  }

  /** What was judged is where the container wanted to go; where the host leads what passes is told beside it. */
  #translation({ effect, connection }: Finding): string {
    if (effect !== "alert" || connection === null) return "";
    const translated = translationOf(this.#options.native, connection);
    return translated === null ? "" : ` (the host leads it to ${translated})`;
  }

  /** A container ended: what is found of it later still gets its facts. */
  ended(container: Container): void {
    this.#ended.set(container.id, container);
  }

  #facts(id: string | null): AuditContainer | null {
    if (id === null) return null;
    const container = this.#options.registry.find(id) ?? this.#ended.get(id);
    if (container !== undefined) return auditContainer(container);
    return { id, name: "", image: "", imageDigest: "", namespace: null, labels: {} };
  }

  /**
   * Soon after an image was updated a container of it did what none of the image before did. Its model only learns that, so
   * nothing is prevented; but it may be the update that does it. `audit` adds the reason.
   */
  newAfterUpdate(observation: Observation): void {
    const container = this.#options.registry.find(observation.container);
    const what = container === undefined ? null : newBehaviour(observation);
    if (container === undefined || what === null) return;
    this.audit({
      ...this.#ofTheGuard({
        ...what,
        message: `${what.message}, for the first time since its image was updated`,
        effect: "alert",
        container: container.id,
        rule: this.#options.revisions.policy.profileFor(container, null).rule,
        reasons: [{ kind: "model", state: "learning", match: "none" }],
      }),
      time: observation.time,
    });
  }

  /** Somebody changed our firewall rules; they are in place again. */
  rulesetChanged(detail: string): void {
    this.audit(
      this.#ofTheGuard({
        attackType: "rulesetChanged",
        effect: "alert",
        message: `firewall rules were changed by somebody else and installed again: ${detail}`,
        reasons: [{ kind: "detection", message: detail }],
      }),
    );
  }

  /** A feed whose source gives nothing any more is told once, and again only when it was good in between. */
  staleFeeds(feeds: readonly FeedReport[]): void {
    for (const feed of feeds) {
      const { name, stale, error } = feed;
      if (!stale) this.#stale.delete(name);
      if (!stale || this.#stale.has(name)) continue;
      this.#stale.add(name);
      const why = error === null ? "" : `: ${error}`;
      this.audit(
        this.#ofTheGuard({
          attackType: "staleFeed",
          effect: "alert",
          message: `feed ${name} ${staleness(feed)}${why}`,
          reasons: [{ kind: "detection", feed: name, message: error ?? "no update of it has run" }],
        }),
      );
    }
  }

  /** An operator gave a container exemptions, or took them back before their time. */
  exempted(given: readonly GivenExemption[], withdrawnBy?: string | null): void {
    for (const { container, entry, until, by, note } of given) {
      const what = this.#options.registry.find(container.id);
      const end = new Date(until).toISOString();
      const whom = (who: string | null): string => (who === null ? "an operator" : `\`${who}\``);
      const why = note === null ? "" : `: ${note}`;
      this.audit(
        this.#ofTheGuard({
          type: isNamed(entry) ? "dns" : "connection",
          attackType: "exempted",
          effect: "alert",
          container: container.id,
          rule: what === undefined ? null : this.#options.revisions.policy.profileFor(what, null).rule,
          message:
            withdrawnBy === undefined
              ? `${whom(by)} lets it reach \`${entry}\` until ${end}${why}`
              : `${whom(withdrawnBy)} withdrew the exemption of \`${entry}\``,
          reasons: [{ kind: "operator", entry, message: `until ${end}` }],
        }),
      );
    }
  }

  /** What the kernel's rate guard dropped becomes an audit of the container that sent it. */
  floods(floods: readonly Flood[]): void {
    const { registry, revisions } = this.#options;
    for (const { address, packets } of floods) {
      this.#rateGuardDrops += packets;
      const container =
        address === null ? undefined : registry.list().find((one) => addressesOf(one).includes(address));
      const source = address ?? "sources that belong to no known container";
      this.audit(
        this.#ofTheGuard({
          attackType: "connectionFlood",
          effect: "prevent",
          container: container?.id ?? null,
          rule: container === undefined ? null : revisions.policy.profileFor(container, null).rule,
          message: `${packets} new connections or lookups from ${source} were dropped by the rate guard`,
          reasons: [{ kind: "detection", subject: source, message: "above the rate that is allowed" }],
          count: packets,
        }),
      );
    }
  }

  /** About no single connection or lookup. */
  #ofTheGuard(
    finding: Pick<Finding, "attackType" | "effect" | "message" | "reasons"> & Partial<Finding>,
  ): Finding {
    return {
      time: this.#options.clock.now(),
      type: "connection",
      container: null,
      rule: null,
      dns: null,
      connection: null,
      revision: this.#options.revisions.revision,
      count: 1,
      ...finding,
    };
  }
}

function isNamed(entry: string): boolean {
  const target = parseExempt(entry);
  return typeof target !== "string" && target.kind === "name";
}

/** Null for what is no attack type: where inside a container connects to. */
function newBehaviour(
  observation: Observation,
): Pick<Finding, "type" | "attackType" | "message" | "dns"> | null {
  switch (observation.kind) {
    case "name": {
      const { name } = observation;
      const dns = { name, type: "", answers: [], rcode: null };
      return { type: "dns", attackType: "unexpectedDNS", message: `lookup of ${name}`, dns };
    }
    case "outboundPort": {
      const message = `connection to the Internet, port ${observation.port}/${protocolName(observation.protocol)}`;
      return { type: "connection", attackType: "unexpectedOutboundPort", message, dns: null };
    }
    case "listeningPort": {
      const message = `listens on port ${observation.port}/${protocolName(observation.protocol)}`;
      return { type: "listeningPort", attackType: "unexpectedListeningPort", message, dns: null };
    }
    default:
      return null;
  }
}

/** What a stale feed guards with, and since when its source gave nothing. */
function staleness({ goodAt, wantedSince, loadedAt }: FeedReport): string {
  const since = `its source has given nothing good since it is named, at ${wantedSince ?? "no time"}`;
  if (goodAt === null) {
    return loadedAt === null
      ? `never was in force: ${since}`
      : `guards with the list of ${loadedAt}: ${since}`;
  }
  const rest = loadedAt === null ? "is not in force" : "guards with that list";
  return `was last fetched well at ${goodAt}, and ${rest}`;
}
