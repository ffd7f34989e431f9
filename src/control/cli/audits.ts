/** `tidesman audits`: what was found, oldest first, and with --follow as it happens. */
import { type Command, InvalidArgumentError, Option } from "commander";
import type { AuditRecord } from "../../audit/record.ts";
import { ATTACK_TYPES } from "../../policy/types.ts";
import type { ControlClient } from "../client.ts";
import { parseMoment } from "../moment.ts";
import { type Attach, type Context, connect, DONE, JSON_OPTION, type JsonOption } from "./context.ts";
import { effectColour, localTime, lostEvents, number, plural, wrap } from "./layout.ts";
import type { Output } from "./output.ts";

interface AuditsOptions extends JsonOption {
  readonly follow?: boolean;
  readonly since?: string;
  readonly until?: string;
  readonly container?: string;
  readonly attackType?: string;
  readonly effect?: string;
  readonly limit?: number;
}

/** Shown when neither --since nor --limit says how many. */
const USUAL = 100;
const PAGE = 5_000;

export function define(program: Command, attach: Attach): void {
  const command = program
    .command("audits")
    .description("list what was found, oldest first")
    .option("-f, --follow", "go on with what is found from now on")
    .option("--since <time>", "active since then: how long ago (1h, 2d) or a date")
    .option("--until <time>", "begun by then")
    .option("--container <container>", "of one container: name, id, or beginning of an id")
    .option("--attack-type <type>", "of one kind (feedDNS, rawSocket, …)", attackType)
    .addOption(new Option("--effect <effect>", "with one effect").choices(["alert", "prevent", "block"]))
    .option("--limit <number>", `the latest so many (default ${USUAL}, all with --since)`, wholeNumber)
    .option(...JSON_OPTION);
  attach<AuditsOptions>(command, async (context, options) => {
    const client = await connect(context);
    const query = {
      since: moment(options.since, context, "--since"),
      until: moment(options.until, context, "--until"),
      container: options.container,
      attackType: options.attackType,
      effect: options.effect,
    };
    const write = (records: readonly AuditRecord[]): void => {
      if (options.json === true) context.output.jsonLines(records);
      else for (const record of records) writeRecord(context.output, record);
    };
    if (options.follow !== true) {
      const shown = await past(client, query, options.limit, write);
      if (shown === 0 && options.json !== true) context.output.text("No audits.");
      return DONE;
    }
    return follow(client, query, options, write, context.complain);
  });
}

type Query = Readonly<Record<string, string | undefined>>;

/** Writes what is stored; returns how many records. */
async function past(
  client: ControlClient,
  query: Query,
  limit: number | undefined,
  write: (records: readonly AuditRecord[]) => void,
): Promise<number> {
  if (limit !== undefined || query.since === undefined) {
    const records = await client.audits({ ...query, limit: limit ?? USUAL });
    write(records);
    return records.length;
  }
  let shown = 0;
  for (let after = ""; ; ) {
    const records = await client.audits({ ...query, limit: PAGE, after });
    write(records);
    shown += records.length;
    const last = records.at(-1);
    if (last === undefined || records.length < PAGE) return shown;
    after = last.id;
  }
}

/** Subscribes before it reads what is stored, so that nothing falls between; what it has written it does not repeat. */
async function follow(
  client: ControlClient,
  query: Query,
  options: AuditsOptions,
  write: (records: readonly AuditRecord[]) => void,
  complain: (text: string) => void,
): Promise<never> {
  const events = await client.events();
  const written = new Map<string, number>();
  await past(client, query, options.limit ?? (query.since === undefined ? 10 : undefined), (records) => {
    for (const record of records) written.set(record.id, record.count);
    write(records);
  });
  for (;;) {
    const { value: event } = await events.next();
    if (event.kind === "lost") complain(lostEvents(event.count));
    if (event.kind !== "audit") continue;
    const { record } = event;
    if (matches(record, options) && (written.get(record.id) ?? 0) < record.count) {
      written.delete(record.id);
      write([record]);
    }
  }
}

function matches(record: AuditRecord, { container, attackType, effect }: AuditsOptions): boolean {
  if (attackType !== undefined && record.attackType !== attackType) return false;
  if (effect !== undefined && record.effect !== effect) return false;
  if (container === undefined) return true;
  const isPrefix = /^[0-9a-f]{6,}$/.test(container);
  const own = record.container === null ? [] : [record.container];
  return [...own, ...(record.fold?.containers ?? [])].some(
    ({ id, name }) => name === container || id === container || (isPrefix && id.startsWith(container)),
  );
}

/** Two lines: when, what, who; and the message. */
function writeRecord(output: Output, record: AuditRecord): void {
  const time = localTime(record.lastTime);
  const effect = record.effect.padEnd(7);
  const times = record.count === 1 ? "" : ` x${number(record.count)}`;
  const who = record.container?.name ?? record.host;
  const others = (record.fold?.containers.length ?? 1) - 1;
  const whose = others > 0 ? `${who} and ${plural(others, "other")}` : who;
  const head = `${time} ${effect} ${record.attackType} ${whose}${times}`;
  const [first = "", ...rest] = wrap(head, output.width, "    ");
  const painted = first.replace(effect, output.paint(effect, effectColour(record.effect)));
  output.lines([painted, ...rest, ...wrap(`    ${record.message}`, output.width, "    ")]);
}

function moment(text: string | undefined, { now }: Context, what: string): string | undefined {
  return text === undefined ? undefined : new Date(parseMoment(text, now(), what)).toISOString();
}

function wholeNumber(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < 1 || value > 10_000)
    throw new InvalidArgumentError("It has to be 1 to 10000.");
  return value;
}

function attackType(text: string): string {
  const found = ATTACK_TYPES.find((known) => known.toLowerCase() === text.toLowerCase());
  if (found === undefined) throw new InvalidArgumentError(`Known are: ${ATTACK_TYPES.join(", ")}.`);
  return found;
}
