/** Prometheus metrics: the numbers of the status report under names that stay. */
import { Counter, Gauge, Registry } from "prom-client";
import type { StatusReport } from "./types.ts";

interface Sample {
  readonly value: number;
  readonly labels?: Readonly<Record<string, string>>;
}

export const METRICS_TYPE = Registry.PROMETHEUS_CONTENT_TYPE;

/** Prometheus text format. Counters are those of the daemon since its start. */
export async function metricsText(status: StatusReport): Promise<string> {
  const registry = new Registry();
  const write = (
    type: "counter" | "gauge",
    name: string,
    help: string,
    given: number | readonly Sample[],
  ): void => {
    const samples = typeof given === "number" ? [{ value: given }] : given;
    const labelNames = Object.keys(samples[0]?.labels ?? {});
    const settings = { name: `tidesman_${name}`, help, labelNames, registers: [registry] };
    const metric = type === "counter" ? new Counter(settings) : new Gauge(settings);
    for (const { value, labels = {} } of samples) metric.inc(labels, value);
  };
  const { dns, packets, queue, audits, incidents, dropped } = status;
  const up = (yes: boolean): number => (yes ? 1 : 0);

  write("gauge", "info", "Version and host; always 1", [
    { value: 1, labels: { version: status.version, host: status.host, fail_mode: status.failMode } },
  ]);
  write("gauge", "uptime_seconds", "Seconds since the daemon started", status.uptime);
  write(
    "gauge",
    "runtime_connected",
    "1 while the container runtime answers",
    up(status.docker.state === "connected"),
  );
  write("gauge", "warnings", "Conditions that an operator should put right", status.warnings.length);
  write("gauge", "containers", "Containers by state", [
    { value: status.containers.running, labels: { state: "running" } },
    { value: status.containers.blocked.length, labels: { state: "blocked" } },
    { value: status.containers.total, labels: { state: "any" } },
  ]);

  write("gauge", "block_stopped_lately", "Containers stopped by rules lately", status.block.stoppedLately);
  write(
    "gauge",
    "block_spared",
    "Containers that run only because of the circuit breaker",
    status.block.spared.length,
  );
  write(
    "counter",
    "block_refused_total",
    "Findings that did not stop their container because of the circuit breaker",
    status.block.refused,
  );

  write(
    "gauge",
    "exemptions",
    "Exemptions that operators gave and that are in force",
    status.exemptions.length,
  );

  write("counter", "dns_lookups_total", "Lookups received from containers", dns.lookups);
  write("counter", "dns_outcomes_total", "Lookups by what became of them", [
    { value: dns.shortcuts + dns.cached, labels: { outcome: "cached" } },
    { value: dns.stale, labels: { outcome: "stale" } },
    { value: dns.prevented, labels: { outcome: "prevented" } },
    { value: dns.refused, labels: { outcome: "refused" } },
    { value: dns.malformed, labels: { outcome: "malformed" } },
    { value: dns.limited, labels: { outcome: "limited" } },
    { value: dns.overloaded, labels: { outcome: "overloaded" } },
    { value: dns.failed, labels: { outcome: "failed" } },
    { value: dns.notServed, labels: { outcome: "not_served" } },
    { value: dns.unknownDropped, labels: { outcome: "unknown_source" } },
    { value: dns.errors, labels: { outcome: "error" } },
  ]);
  write("gauge", "dns_waiting", "Lookups that wait for an upstream", dns.waiting);
  write("gauge", "dns_connections", "TCP connections of containers", dns.connections);
  write("gauge", "dns_cache_entries", "Answers in the cache", dns.cacheEntries);
  write("gauge", "dns_bindings", "Addresses bound to a resolved name", dns.bindings);
  write("counter", "dns_upstream_questions_total", "Questions sent to upstreams", dns.sent);
  write("counter", "dns_upstream_answers_total", "Questions that upstreams answered", dns.answered);
  write("counter", "dns_upstream_coalesced_total", "Lookups that shared a question", dns.coalesced);
  write("counter", "dns_upstream_silences_total", "Times an upstream was silent", dns.silences);
  write("counter", "dns_upstream_expired_total", "Questions that ended at the deadline", dns.expired);
  write("counter", "dns_upstream_bad_replies_total", "Replies of upstreams that were thrown away", [
    { value: dns.unasked, labels: { reason: "unasked" } },
    { value: dns.malformedAnswers, labels: { reason: "malformed" } },
  ]);

  write("counter", "packets_total", "Packets seen by the queue", packets.packets);
  write("counter", "packet_verdicts_total", "Packets by verdict or reason for it", [
    { value: packets.allowed, labels: { verdict: "allowed" } },
    { value: packets.denied, labels: { verdict: "denied" } },
    { value: packets.lookups, labels: { verdict: "lookup" } },
    { value: packets.cut, labels: { verdict: "cut" } },
    { value: packets.failMode, labels: { verdict: "fail_mode" } },
  ]);
  write("counter", "packets_spoofed_total", "Packets with a source address not their own", packets.spoofed);
  write("counter", "packets_held_total", "Packets that waited for their container", packets.heldTotal);
  write("counter", "packets_unknown_total", "Packets whose container stayed unknown", [
    { value: packets.expired, labels: { reason: "expired" } },
    { value: packets.notHeld, labels: { reason: "no_room" } },
  ]);
  write("counter", "packets_unjudged_total", "Packets that cannot be judged", [
    { value: packets.unparseable, labels: { reason: "unparseable" } },
    { value: packets.fragments, labels: { reason: "fragment" } },
    { value: packets.otherProtocols, labels: { reason: "protocol" } },
  ]);
  write("counter", "packet_errors_total", "Failures while deciding a packet", packets.errors);
  write("gauge", "packets_held", "Packets that wait now", packets.held);

  write("gauge", "queue_length", "Packets that fit into the kernel's queue", queue.length);
  write("gauge", "queue_waiting", "Packets in the kernel's queue", queue.waiting);
  write("counter", "queue_overflow_total", "Packets that found the kernel's queue full", queue.overflow);
  write("counter", "queue_overruns_total", "Packets lost to a full socket buffer", queue.overruns);
  write("counter", "queue_verdict_errors_total", "Verdicts that the kernel refused", queue.verdictErrors);
  write(
    "counter",
    "rate_guard_drops_total",
    "Connections dropped by the per-container rate guard",
    queue.rateGuard,
  );

  write("gauge", "policy_revision", "Revision of the policy in force", status.policy.revision);
  write(
    "gauge",
    "policy_reload_refused",
    "1 while the latest reload was refused",
    up(status.policy.lastError !== null),
  );
  const feeds = status.feeds.filter((feed) => feed.enabled);
  write(
    "gauge",
    "feed_entries",
    "Entries of a feed",
    feeds.map((feed) => ({ value: feed.entries, labels: { feed: feed.name } })),
  );
  write(
    "gauge",
    "feed_up",
    "1 while the feed is in use",
    feeds.map((feed) => ({ value: up(feed.loadedAt !== null), labels: { feed: feed.name } })),
  );
  write(
    "gauge",
    "feed_stale",
    "1 while the source of the feed has given nothing for long",
    feeds.map((feed) => ({ value: up(feed.stale), labels: { feed: feed.name } })),
  );
  write(
    "gauge",
    "feed_state",
    "1 for the state of what the source last gave",
    feeds.map((feed) => ({ value: 1, labels: { feed: feed.name, state: feed.state } })),
  );
  write(
    "gauge",
    "feed_good_timestamp_seconds",
    "When the source of the feed was last found good",
    feeds.flatMap((feed) =>
      feed.goodAt === null ? [] : [{ value: Date.parse(feed.goodAt) / 1000, labels: { feed: feed.name } }],
    ),
  );
  write(
    "gauge",
    "feed_loaded_timestamp_seconds",
    "When the feed was read",
    feeds.flatMap((feed) =>
      feed.loadedAt === null
        ? []
        : [{ value: Date.parse(feed.loadedAt) / 1000, labels: { feed: feed.name } }],
    ),
  );
  write(
    "gauge",
    "models",
    "Models by state",
    Object.entries(status.models).map(([state, value]) => ({ value, labels: { state } })),
  );

  write("counter", "findings_total", "Findings taken by the audit log", audits.accepted);
  write(
    "counter",
    "findings_folded_total",
    "Findings that raised the count of an open record",
    audits.folded,
  );
  write("counter", "findings_dropped_total", "Findings lost before they could be stored", [
    { value: audits.dropped, labels: { at: "audit_log" } },
    { value: dropped.findings, labels: { at: "data_thread" } },
  ]);
  write(
    "counter",
    "observations_dropped_total",
    "Observations lost before a model learned them",
    dropped.observations,
  );
  write("gauge", "audits_waiting", "Records that wait for the disk", audits.waiting);
  write("gauge", "audits_stored", "Records in the database", audits.stored);
  write("gauge", "audits_bytes", "Bytes of the audit database in use", audits.bytes);
  write("gauge", "audits_failing", "1 while audits cannot be written", up(audits.error !== null));

  const ofEachKind = (counts: Readonly<Record<string, number>>): readonly Sample[] =>
    Object.entries(counts).map(([kind, value]) => ({ value, labels: { kind } }));
  write("gauge", "incidents_open", "Incidents that are not closed", ofEachKind(incidents.open));
  write("gauge", "incidents_acknowledged", "Open incidents that somebody has seen", incidents.acknowledged);
  write(
    "counter",
    "incidents_opened_total",
    "Incidents that opened, for the first time or again",
    ofEachKind(incidents.opened),
  );
  write("counter", "incidents_closed_by_itself_total", "Incidents that closed without an operator", [
    { value: incidents.closedByItself.rested, labels: { reason: "rested" } },
    { value: incidents.closedByItself.containerGone, labels: { reason: "container_gone" } },
    { value: incidents.closedByItself.crowded, labels: { reason: "crowded" } },
  ]);
  write("gauge", "incidents_failing", "1 while incidents cannot be written", up(incidents.error !== null));
  return registry.metrics();
}
