/**
 * Runs the stories in test/scenarios/*.txt: what containers ask, what upstreams answer, what must come back, and what must
 * be told. Everything is in memory, on a clock that only `wait` moves.
 *
 *   # …                                    a remark, anywhere
 *   config KEY VALUE                       a key below `dns` of tidesman.yaml (`cache.serveStale 3600`), before the rest
 *   feed ENTRY …                           names and addresses on the feed `urlhaus`
 *   container NAME …                       they run; two (c1, c2) do anyway
 *   policy                                 policy.yaml in the indented lines below; later ones are a reload
 *   upstream NAME TYPE RCODE               what upstreams answer from now on, records indented below:
 *     NAME TTL TYPE DATA                   of the answer section,
 *     authority NAME TTL TYPE DATA         of the authority section;
 *   upstream NAME TYPE silent              or that they do not; what is not listed is NXDOMAIN without a SOA
 *   exempt CONTAINER [NAME …]              an operator lets it reach these, and no others, for a time
 *   ask CONTAINER NAME TYPE [edns=N] [do]  a lookup over UDP
 *   wait DURATION                          time passes: `500ms`, `90s`, `2h`
 *   expect CONTAINER RCODE [TC]            the reply to its last lookup, whose answers are indented below, all of them
 *   expect CONTAINER nothing               there is none
 *   audit CONTAINER EFFECT ATTACK MESSAGE  the next finding, in order; at the end none may be left
 *   names CONTAINER ADDRESS NAME …         what the container resolved the address from, most recent first
 *   asked N                                upstreams were asked N questions so far
 */
import { readdirSync, readFileSync } from "node:fs";
import t, { type Test } from "tap";
import { rcodeName } from "../src/dns/message.ts";
import { parsePolicy } from "../src/policy/parse.ts";
import type { PolicyFile } from "../src/policy/schema.ts";
import { typeName } from "../src/record-type.ts";
import { askedName, askedType, parse, type ReplyParts, record, reply, TYPES } from "./dns/wire.ts";
import { type ConfigChange, World } from "./dns/world.ts";

interface Step {
  readonly line: number;
  readonly words: readonly string[];
  readonly text: string;
  readonly block: readonly string[];
}

const RCODES: Readonly<Record<string, number>> = {
  NOERROR: 0,
  FORMERR: 1,
  SERVFAIL: 2,
  NXDOMAIN: 3,
  NOTIMP: 4,
  REFUSED: 5,
};
const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** Steps of a story: an unindented line, with the indented ones below it. */
function stepsOf(story: string): Step[] {
  const steps: (Step & { block: string[] })[] = [];
  for (const [index, line] of story.split("\n").entries()) {
    const text = line.replace(/(^|\s)#.*$/, "").trimEnd();
    if (text === "") continue;
    const last = steps.at(-1);
    if (/^\s/.test(text) && last !== undefined) last.block.push(text);
    else steps.push({ line: index + 1, text, words: text.split(/\s+/), block: [] });
  }
  return steps;
}

function policyOf({ block }: Step): PolicyFile {
  return parsePolicy(block.join("\n"), "policy.yaml").policy;
}

/** `a.b 3` as `{ a: { b: 3 } }`, on top of `config`. */
function configure(config: Record<string, unknown>, [, path = "", value = ""]: readonly string[]): void {
  const keys = path.split(".");
  let at = config;
  for (const key of keys.slice(0, -1)) {
    at[key] ??= {};
    at = at[key] as Record<string, unknown>;
  }
  at[keys.at(-1) ?? ""] = /^\d+$/.test(value) ? Number(value) : value;
}

async function startWorld(t: Test, steps: readonly Step[]): Promise<World> {
  const all = (word: string): readonly Step[] => steps.filter(({ words }) => words[0] === word);
  const config: Record<string, unknown> = {};
  for (const { words } of all("config")) configure(config, words);
  const [policy] = all("policy");
  const world = await World.start({
    config: config as ConfigChange,
    feed: all("feed").flatMap(({ words }) => words.slice(1)),
    containers: [...new Set(["c1", "c2", ...all("container").flatMap(({ words }) => words.slice(1))])],
    ...(policy === undefined ? {} : { policy: policyOf(policy) }),
  });
  t.teardown(() => world.close());
  return world;
}

function answerOf({ words, block }: Step): ReplyParts | null {
  if (words[3] === "silent") return null;
  const lines = block.map((line) => line.trim());
  return {
    rcode: RCODES[words[3] ?? ""] ?? 0,
    answers: lines.filter((line) => !line.startsWith("authority ")).map(record),
    authorities: lines.filter((line) => line.startsWith("authority ")).map((line) => record(line.slice(10))),
  };
}

/** A reply as the story would write it. */
function tellReply(message: Buffer): { head: string; answers: string[] } {
  const parsed = parse(message);
  const truncated = (message[2]! & 2) !== 0 ? " TC" : "";
  const answers = parsed.answers.map((answer) => {
    const data = answer as { address?: string; domain?: string; data?: unknown };
    return `${answer.name} ${answer.ttl} ${typeName(answer.type)} ${data.address ?? data.domain ?? ""}`.trim();
  });
  return { head: rcodeName(message[3]! & 15) + truncated, answers };
}

async function run(t: Test, story: string): Promise<void> {
  const steps = stepsOf(story);
  const world = await startWorld(t, steps);
  const upstream = new Map<string, ReplyParts | null>();
  const replies = new Map<string, Buffer[]>();
  let told = 0;
  let policies = 0;
  world.onAsked = ({ message, answer }) => {
    const parts = upstream.get(`${askedName(message).toLowerCase()} ${askedType(message)}`);
    if (parts !== null) answer(reply(message, parts ?? { rcode: 3 }));
  };
  for (const step of steps) {
    const { words, block, line } = step;
    const [word, first = "", second = "", third = ""] = words;
    const where = `line ${line}: ${step.text}`;
    switch (word) {
      case "config":
      case "feed":
      case "container":
        break;
      case "policy":
        if (policies++ > 0) world.load(policyOf(step));
        break;
      case "exempt":
        world.exempt(first, words.slice(2));
        break;
      case "upstream":
        upstream.set(`${first.toLowerCase()} ${TYPES[second]}`, answerOf(step));
        break;
      case "ask": {
        const edns = words.find((option) => option.startsWith("edns="))?.slice(5);
        const parts = edns === undefined ? {} : { edns: Number(edns), dnssec: words.includes("do") };
        replies.set(first, world.ask(first, second, TYPES[third] ?? 1, parts));
        break;
      }
      case "wait": {
        const [, amount = "", unit = ""] = /^(\d+)(ms|s|m|h)$/.exec(first) ?? [];
        world.clock.advance(Number(amount) * (UNITS[unit] ?? Number.NaN));
        break;
      }
      case "expect": {
        const [message] = replies.get(first) ?? [];
        if (second === "nothing") t.equal(message, undefined, where);
        else if (message === undefined) t.fail(`${where}: there is no reply`);
        else
          t.same(
            tellReply(message),
            { head: words.slice(2).join(" "), answers: block.map((text) => text.trim()) },
            where,
          );
        break;
      }
      case "audit": {
        const finding = world.findings[told++];
        const summary = `${finding?.container} ${finding?.effect} ${finding?.attackType} ${finding?.message}`;
        t.equal(summary, words.slice(1).join(" "), where);
        break;
      }
      case "names":
        t.same(world.names(first, second), words.slice(3), where);
        break;
      case "asked":
        t.equal(world.asked.length, Number(first), where);
        break;
      default:
        t.fail(`${where}: no such step`);
    }
  }
  t.same(
    world.findings.slice(told).map(({ message }) => message),
    [],
    "nothing else was told",
  );
}

const folder = new URL("./scenarios/", import.meta.url);
for (const file of readdirSync(folder).toSorted()) {
  if (file.endsWith(".txt")) t.test(file, (t) => run(t, readFileSync(new URL(file, folder), "utf8")));
}
