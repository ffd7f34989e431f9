/**
 * Writes the table of keys in docs/configuration.md from the schema: `node scripts/config-docs.ts`. With `--check` it
 * writes nothing and exits with 1 when the page is not current.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { argv, exit } from "node:process";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { configSchema } from "../src/config.ts";
import { unwrap } from "../src/issues.ts";

export const PAGE = fileURLToPath(new URL("../docs/configuration.md", import.meta.url));
const START = "<!-- keys: written by scripts/config-docs.ts -->\n";
const END = "<!-- end of keys -->\n";

interface Key {
  readonly key: string;
  readonly allowed: string;
  readonly default: string;
  readonly description: string;
}

/** Every key that holds a value, in the order of the schema. */
export function configKeys(): readonly Key[] {
  return keysOf(configSchema("the system's host name"), "");
}

function keysOf(schema: z.core.$ZodType, path: string): readonly Key[] {
  const definition = (unwrap(schema) as z.core.$ZodTypes)._zod.def;
  if (definition.type === "object") {
    const prefix = path === "" ? "" : `${path}.`;
    return Object.entries(definition.shape).flatMap(([key, inner]) => keysOf(inner, prefix + key));
  }
  const description = z.globalRegistry.get(schema)?.description ?? "";
  return [{ key: path, allowed: allowedBy(schema), default: defaultOf(schema, path), description }];
}

function allowedBy(schema: z.core.$ZodType): string {
  for (let inner = schema; ; ) {
    const title = z.globalRegistry.get(inner)?.title;
    if (title !== undefined) return title;
    const definition = (inner as z.core.$ZodTypes)._zod.def;
    if (definition.type === "enum") return Object.keys(definition.entries).map(code).join(", ");
    if (definition.type === "boolean") return "`true`, `false`";
    if (definition.type === "array") return `list: ${allowedBy(definition.element)}`;
    if (definition.type !== "default" && definition.type !== "prefault") return definition.type;
    inner = definition.innerType;
  }
}

function defaultOf(schema: z.core.$ZodType, path: string): string {
  const definition = (schema as z.core.$ZodTypes)._zod.def;
  if (definition.type === "default") return String(definition.defaultValue);
  if (definition.type !== "prefault") return "none";
  const value: unknown = definition.defaultValue;
  if (path === "network.markMask" && typeof value === "number") return code(`0x${value.toString(16)}`);
  if (Array.isArray(value))
    return value.length === 0 ? "`[]`" : value.map((item) => code(String(item))).join(", ");
  return code(String(value));
}

function code(text: string): string {
  return `\`${text}\``;
}

/** The page with its table as the schema says. Throws when the page has lost its markers. */
export function withCurrentKeys(page: string): string {
  const start = page.indexOf(START);
  const end = page.indexOf(END);
  if (start < 0 || end < start) throw new Error(`the page needs the lines ${START.trim()} and ${END.trim()}`);
  const rows = configKeys().map(
    (key) => `| \`${key.key}\` | ${key.allowed} | ${key.default} | ${key.description} |`,
  );
  const table = ["| Key | Allowed | Default | |", "|---|---|---|---|", ...rows, ""].join("\n");
  return page.slice(0, start + START.length) + table + page.slice(end);
}

if (import.meta.main) {
  const page = readFileSync(PAGE, "utf8");
  const current = withCurrentKeys(page);
  if (argv.includes("--check") && page !== current) {
    console.error("docs/configuration.md is not current: run `node scripts/config-docs.ts`");
    exit(1);
  }
  if (!argv.includes("--check")) writeFileSync(PAGE, current);
}
