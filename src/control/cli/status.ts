/** `tidesman status`: the appliance at a glance; what needs a hand first. */
import type { Command } from "commander";
import { formatDuration } from "../moment.ts";
import type { StatusReport } from "../types.ts";
import { type Attach, connect, DONE, JSON_OPTION, type JsonOption } from "./context.ts";
import { bytes, type Colour, localTime, number, plural } from "./layout.ts";
import type { Fact, Output } from "./output.ts";

const DONE_TO = { stop: "stopped", pause: "paused", isolate: "isolated" } as const;

export function define(program: Command, attach: Attach): void {
  const command = program
    .command("status")
    .description("show how the appliance is doing")
    .option(...JSON_OPTION);
  attach<JsonOption>(command, async (context, { json }) => {
    const status = await (await connect(context)).status();
    if (json === true) context.output.json(status);
    else writeStatus(context.output, status);
    return DONE;
  });
}

function writeStatus(output: Output, status: StatusReport): void {
  const { dns, packets, queue, policy, audits } = status;
  for (const warning of status.warnings) output.text(`warning: ${warning}`, "  ", "yellow");
  if (policy.lastError !== null) {
    const refused = `warning: the policy of ${localTime(policy.lastError.time)} was refused, revision ${policy.revision} stays in force:\n${policy.lastError.message}`;
    output.text(refused, "  ", "red");
  }
  if (status.warnings.length > 0 || policy.lastError !== null) output.lines([""]);
  const facts: Fact[] = [
    [
      "tidesman",
      `${status.version} on ${status.host}, pid ${status.pid}, up ${formatDuration(status.uptime)}, fails ${status.failMode}`,
    ],
    ["runtime", ...runtime(status)],
    ["containers", `${number(status.containers.running)} running of ${number(status.containers.total)}`],
    ...status.containers.blocked.map(
      (one): Fact => [
        "blocked",
        `${one.name} (${DONE_TO[one.action]}) since ${localTime(one.since)}: ${one.reason}`,
        "red",
      ],
    ),
    ...exemptions(status),
    ...status.block.spared.map((one): Fact => ["not blocked", `${one.name}: ${one.reason}`, "red"]),
    ...status.networks.map(
      (one): Fact => [
        "network",
        `${one.name} on ${one.bridge}: ${plural(one.containers, "container")}, ${plural(one.veths, "veth")}; ${one.subnets.join(" ")}`,
      ],
    ),
    ...listening(status),
    [
      "policy",
      `revision ${policy.revision}, ${plural(policy.rules, "rule")} from ${policy.file ?? "the built-in defaults"}, since ${localTime(policy.loadedAt)}`,
    ],
    ["feeds", feeds(status), status.feeds.some((feed) => feed.error !== null) ? "red" : null],
    [
      "models",
      Object.entries(status.models)
        .map(([state, count]) => `${number(count)} ${state}`)
        .join(", "),
    ],
    [
      "lookups",
      `${number(dns.lookups)}: ${number(dns.shortcuts + dns.cached)} from the cache, ${number(dns.sent)} questions to upstreams, ${number(dns.prevented)} prevented, ${number(dns.failed)} failed`,
    ],
    ["upstreams", dns.upstreams.join(" ") || "none", dns.upstreams.length === 0 ? "red" : null],
    ["cache", `${plural(dns.cacheEntries, "answer")}, ${number(dns.bindings)} addresses bound to names`],
    [
      "packets",
      `${number(packets.packets)}: ${number(packets.allowed)} allowed, ${number(packets.denied)} denied, ${number(packets.cut)} of blocked containers, ${number(packets.held)} held now`,
    ],
    ["queue", `number ${queue.number}: ${number(queue.waiting)} of ${number(queue.length)} waiting`],
    [
      "raw sockets",
      `found by ${status.rawSockets.source === "trace" ? "tracing" : `looking at tables (${status.rawSockets.reason ?? "no reason given"})`}`,
    ],
    [
      "audits",
      `${number(audits.stored)} stored in ${bytes(audits.bytes)}${audits.oldest === null ? "" : ` since ${localTime(audits.oldest)}`}`,
    ],
    ["incidents", ...incidents(status)],
    ...losses(status),
  ];
  output.facts(facts);
}

function runtime({ docker }: StatusReport): [string, Colour | null] {
  if (docker.state === "connected")
    return [`Docker ${docker.version === null ? "" : `${docker.version} `}at ${docker.socket}`, null];
  const what = docker.state === "waiting" ? "waiting for Docker" : "no permission to use Docker";
  return [`${what} at ${docker.socket}${docker.error === null ? "" : `: ${docker.error}`}`, "red"];
}

/** One line per use and protocol. */
function listening(status: StatusReport): Fact[] {
  const groups = new Map<string, string[]>();
  for (const { use, protocol, address } of status.listening) {
    const key = protocol === "unix" ? use : `${use} ${protocol}`;
    groups.set(key, [...(groups.get(key) ?? []), address]);
  }
  return [...groups].map(([key, addresses]): Fact => ["listening", `${key}: ${addresses.join(" ")}`]);
}

/** Exemptions shown by name; `allow --list` has them all. */
const SHOWN_EXEMPTIONS = 5;

function exemptions({ exemptions: all }: StatusReport): Fact[] {
  const shown = all
    .slice(0, SHOWN_EXEMPTIONS)
    .map(
      ({ container, entry, until }): Fact => [
        "exempt",
        `${container.name} may reach ${entry} until ${localTime(until)}`,
        "yellow",
      ],
    );
  const left = all.length - shown.length;
  return left === 0 ? shown : [...shown, ["exempt", `${number(left)} more: tidesman allow --list`, "yellow"]];
}

function feeds(status: StatusReport): string {
  const used = status.feeds.filter((feed) => feed.enabled && feed.error === null);
  const failed = status.feeds.filter((feed) => feed.enabled && feed.error !== null);
  const entries = used.reduce((sum, feed) => sum + feed.entries, 0);
  const trouble = failed.length === 0 ? "" : `; failed: ${failed.map((feed) => feed.name).join(" ")}`;
  return `${number(used.length)} in use with ${number(entries)} entries${trouble}`;
}

function incidents({ incidents: { open, acknowledged } }: StatusReport): [string, Colour | null] {
  const kinds = Object.entries(open).filter(([, count]) => count > 0);
  const total = kinds.reduce((sum, [, count]) => sum + count, 0);
  if (total === 0) return ["none open", null];
  const each = kinds.map(([kind, count]) => `${number(count)} ${kind}`).join(", ");
  const seen = acknowledged === 0 ? "" : `; ${number(acknowledged)} acknowledged`;
  return [`${number(total)} open: ${each}${seen}`, total > acknowledged ? "red" : "yellow"];
}

/** What was lost or went wrong, and only if it did. */
function losses(status: StatusReport): Fact[] {
  const { dns, packets, queue, audits, incidents, dropped } = status;
  const counted: readonly (readonly [number, string])[] = [
    [queue.overflow, "packets found the queue full"],
    [queue.overruns, "packets lost to a full socket buffer"],
    [queue.rateGuard, "connections dropped by the rate guard"],
    [queue.verdictErrors, "verdicts refused by the kernel"],
    [packets.failMode, "packets decided by the fail mode"],
    [packets.spoofed, "packets with a spoofed source"],
    [packets.expired + packets.notHeld, "packets of containers that stayed unknown"],
    [packets.errors, "packets failed while deciding"],
    [dns.malformed, "malformed lookups"],
    [dns.limited, "lookups above the rate of their container"],
    [dns.overloaded, "lookups dropped because too much was under way"],
    [dns.notServed, "lookups from outside the containers"],
    [dns.unknownDropped, "lookups of containers that stayed unknown"],
    [dns.errors, "lookups failed while deciding"],
    [dns.silences, "times an upstream was silent"],
    [audits.dropped + dropped.findings, "findings lost before they were stored"],
    [dropped.observations, "observations lost before they were learned"],
    [incidents.closedByItself.crowded, "incidents gave way to others, because too many were open"],
  ];
  const facts = counted
    .filter(([count]) => count > 0)
    .map(([count, what]): Fact => ["counted", `${number(count)} ${what}`, "yellow"]);
  if (audits.error !== null) facts.push(["audits", `cannot be written: ${audits.error}`, "red"]);
  if (incidents.error !== null) facts.push(["incidents", `cannot be written: ${incidents.error}`, "red"]);
  return facts;
}
