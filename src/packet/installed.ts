/** What `iptables-save` says of our part of the tables, and the `iptables-restore` text that leads from there on. */
import { CHAINS, jump, type Table, type TableRules } from "./rules.ts";

/** Our lines of one table. */
export interface InstalledTable {
  /** Our chains that exist. */
  readonly chains: readonly string[];
  /** `-A CHAIN …` lines of our chains, in order. */
  readonly rules: readonly string[];
  /** Jumps from other chains to ours, as `CHAIN …` without the leading `-A `, in order. */
  readonly jumps: readonly string[];
}

export type Installed = ReadonlyMap<Table, InstalledTable>;

const OURS: ReadonlySet<string> = new Set(Object.values(CHAINS));
const TABLES: readonly Table[] = ["mangle", "nat", "filter"];
const NOTHING: InstalledTable = { chains: [], rules: [], jumps: [] };

/** Reads `iptables-save` output. Other people's lines are skipped. */
export function parseInstalled(saved: string): Installed {
  const tables = new Map<Table, { chains: string[]; rules: string[]; jumps: string[] }>();
  let table: { chains: string[]; rules: string[]; jumps: string[] } | undefined;
  for (const line of saved.split("\n")) {
    if (line.startsWith("*")) {
      const name = TABLES.find((known) => known === line.slice(1).trim());
      table = name === undefined ? undefined : { chains: [], rules: [], jumps: [] };
      if (name !== undefined && table !== undefined) tables.set(name, table);
    }
    if (table === undefined) continue;
    const chain = /^:(\S+) /.exec(line)?.[1];
    if (chain !== undefined && OURS.has(chain)) table.chains.push(chain);
    const from = /^-A (\S+) /.exec(line)?.[1];
    if (from === undefined) continue;
    if (OURS.has(from)) table.rules.push(line);
    else if (OURS.has(/ -[jg] (\S+)$/.exec(line)?.[1] ?? "")) table.jumps.push(line.slice("-A ".length));
  }
  return tables;
}

/**
 * Text for `iptables-restore --noflush` that makes our part of every table what `wanted` says, atomically per table.
 * Naming a chain empties it; jumps are touched only where they differ. `patterns`: interfaces that jump to us.
 */
export function restoreText(
  current: Installed,
  wanted: readonly TableRules[],
  patterns: readonly string[],
): string {
  const lines: string[] = [];
  for (const rules of wanted) {
    const { jumps } = current.get(rules.table) ?? NOTHING;
    const wantedJumps = patterns.map((pattern) => jump(rules, pattern));
    lines.push(`*${rules.table}`);
    for (const chain of rules.chains.keys()) lines.push(`:${chain} - [0:0]`);
    for (const [chain, texts] of rules.chains) for (const text of texts) lines.push(`-A ${chain} ${text}`);
    const kept = new Set<string>();
    for (const line of jumps) {
      if (wantedJumps.includes(line) && !kept.has(line)) kept.add(line);
      else lines.push(`-D ${line}`);
    }
    for (const line of wantedJumps) {
      if (!kept.has(line)) lines.push(`-I ${line.replace(" ", " 1 ")}`);
    }
    lines.push("COMMIT");
  }
  lines.push(
    ...removalOf(
      current,
      TABLES.filter((table) => !wanted.some((rules) => rules.table === table)),
    ),
  );
  return `${lines.join("\n")}\n`;
}

/** Text that takes our part out of every table; empty when there is none. */
export function removalText(current: Installed): string {
  const lines = removalOf(current, TABLES);
  return lines.length === 0 ? "" : `${lines.join("\n")}\n`;
}

function removalOf(current: Installed, tables: readonly Table[]): string[] {
  const lines: string[] = [];
  for (const table of tables) {
    const { chains, jumps } = current.get(table) ?? NOTHING;
    if (chains.length + jumps.length === 0) continue;
    lines.push(`*${table}`);
    for (const chain of chains) lines.push(`:${chain} - [0:0]`);
    for (const line of jumps) lines.push(`-D ${line}`);
    for (const chain of chains) lines.push(`-X ${chain}`);
    lines.push("COMMIT");
  }
  return lines;
}

/** Whether what stands in the tables has the chains, the number of rules and the jumps that were asked for. */
export function isComplete(
  current: Installed,
  wanted: readonly TableRules[],
  patterns: readonly string[],
): boolean {
  return wanted.every((rules) => {
    const { chains, rules: lines, jumps } = current.get(rules.table) ?? NOTHING;
    return (
      chains.length === rules.chains.size &&
      lines.length === [...rules.chains.values()].reduce((sum, texts) => sum + texts.length, 0) &&
      patterns.every((pattern) => jumps.includes(jump(rules, pattern)))
    );
  });
}

/** What is missing or changed, for people; empty when nothing is. `wanted` was read back when it was installed. */
export function differences(wanted: Installed, current: Installed): readonly string[] {
  const found: string[] = [];
  for (const [table, before] of wanted) {
    const after = current.get(table) ?? NOTHING;
    for (const chain of before.chains) {
      const of = (lines: readonly string[]): string =>
        lines.filter((line) => line.startsWith(`-A ${chain} `)).join("\n");
      if (!after.chains.includes(chain)) found.push(`chain \`${chain}\` of table \`${table}\` is gone`);
      else if (of(before.rules) !== of(after.rules))
        found.push(`chain \`${chain}\` of table \`${table}\` was changed`);
    }
    for (const line of before.jumps) {
      if (!after.jumps.includes(line)) found.push(`rule \`${line}\` of table \`${table}\` is gone`);
    }
  }
  return found;
}
