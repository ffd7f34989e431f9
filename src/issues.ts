/** Issues that a schema finds, in an operator's words: what is wrong; what is allowed. Used by document.ts alone. */
import type { z } from "zod";

type Path = readonly (string | number)[];

export interface Explained {
  readonly path: Path;
  readonly message: string;
  /** Whether the problem is the key itself, not the value behind it. */
  readonly onKey: boolean;
}

/** One explanation per mistake: an object with three unknown keys gives three. */
export function explainIssue(
  issue: z.core.$ZodIssue,
  schema: z.ZodType,
  root: unknown,
): readonly Explained[] {
  const path = issue.path.map((step) => (typeof step === "number" ? step : String(step)));
  if (issue.code === "unrecognized_keys") {
    const keys = keysAt(schema, path);
    return issue.keys.map((key) => ({ path: [...path, key], message: unknownKey(key, keys), onKey: true }));
  }
  const value = path.reduce<unknown>((at, step) => (isObject(at) ? Reflect.get(at, step) : undefined), root);
  return [{ path, message: explain(issue, value, schema, path), onKey: false }];
}

function explain(issue: z.core.$ZodIssue, value: unknown, schema: z.ZodType, path: Path): string {
  switch (issue.code) {
    case "invalid_type": {
      const wanted = KINDS[issue.expected] ?? issue.expected;
      if (value === undefined) return `is missing; ${wanted} is needed`;
      if (value === null)
        return `is empty; ${wanted} is needed${mayBeLeftOut(schema, path) ? ", or leave the key out" : ""}`;
      if (typeof value === "number" && issue.expected === "int") return `${quote(value)} is no whole number`;
      if (issue.expected === "string" && !isObject(value)) {
        return `${quote(value)} is ${kindOf(value)}; text is needed: write it in quotes, "${String(value)}"`;
      }
      if (issue.expected === "array" && !isObject(value)) {
        return `${quote(value)} is ${kindOf(value)}; a list is needed: [${String(value)}]`;
      }
      const keys = issue.expected === "object" ? ` with the keys ${keysAt(schema, path).join(", ")}` : "";
      return `${quote(value)} is ${kindOf(value)}; ${wanted}${keys} is needed`;
    }
    case "invalid_value": {
      const allowed = issue.values.map(String);
      if (value === undefined) return `is missing; allowed: ${allowed.join(", ")}`;
      if (value === null) return `is empty; allowed: ${allowed.join(", ")}`;
      if (typeof value === "string" && allowed.includes(value))
        return `"${value}" is text; write it without quotes`;
      return `${quote(value)} is not allowed${typeof value === "string" ? suggestion(value, allowed) : ""}; allowed: ${allowed.join(", ")}`;
    }
    case "too_small":
      if (issue.origin === "array") return `is an empty list; leave the key out instead`;
      if (issue.origin === "string") return "is empty text; it needs at least one character";
      return `${quote(value)} is too small; at least ${issue.minimum} is allowed`;
    case "too_big":
      if (issue.origin === "string")
        return `has ${String(value).length} characters; at most ${issue.maximum} are allowed`;
      return `${quote(value)} is too large; at most ${issue.maximum} is allowed`;
    default:
      return issue.message;
  }
}

const KINDS: Readonly<Record<string, string>> = {
  string: "text",
  number: "a number",
  int: "a whole number",
  boolean: "true or false",
  array: "a list",
  object: "a mapping",
  record: "a mapping",
};

/** What a value is, in YAML's terms. */
export function kindOf(value: unknown): string {
  if (value === null || value === undefined) return "empty";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object") return "a mapping";
  return KINDS[typeof value] ?? typeof value;
}

/** Input in backticks, on one line and cut to a readable length. */
export function quote(value: unknown): string {
  const text = typeof value === "string" ? value : (JSON.stringify(value) ?? String(value));
  const visible = Array.from(text.slice(0, 200), (char) =>
    char < " " || char === "\u007f" ? "\ufffd" : char,
  );
  return visible.length > 60 ? `\`${visible.slice(0, 57).join("")}…\`` : `\`${visible.join("")}\``;
}

function unknownKey(key: string, keys: readonly string[]): string {
  return `the key ${quote(key)} is not known${suggestion(key, keys)}; allowed: ${keys.join(", ")}`;
}

/** ` (did you mean …?)` for the nearest of `allowed`, or nothing when none is near. */
export function suggestion(text: string, allowed: readonly string[]): string {
  if (text.length > 40) return "";
  const folded = text.toLowerCase();
  let best: string | null = null;
  let bestDistance = Math.max(1, Math.floor(text.length / 3)) + 1;
  for (const candidate of allowed) {
    const distance = editDistance(folded, candidate.toLowerCase());
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best === null ? "" : ` (did you mean \`${best}\`?)`;
}

/** Levenshtein distance in which two neighbours that changed places count once. */
function editDistance(a: string, b: string): number {
  const rows = Array.from({ length: a.length + 1 }, (_, row) => [
    row,
    ...new Array<number>(b.length).fill(0),
  ]);
  for (let column = 0; column <= b.length; column++) rows[0]![column] = column;
  for (let i = 1; i <= a.length; i++) {
    for (let j = 1; j <= b.length; j++) {
      const cost = a[i - 1] === b[j - 1] ? 0 : 1;
      let distance = Math.min(rows[i - 1]![j]! + 1, rows[i]![j - 1]! + 1, rows[i - 1]![j - 1]! + cost);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        distance = Math.min(distance, rows[i - 2]![j - 2]! + 1);
      }
      rows[i]![j] = distance;
    }
  }
  return rows[a.length]![b.length]!;
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

/** Whether the value is that of a key which need not be there. */
function mayBeLeftOut(schema: z.ZodType, path: Path): boolean {
  const found = typeof path.at(-1) === "string" ? schemaAt(schema, path) : null;
  const type = found === null ? null : (found as z.core.$ZodTypes)._zod.def.type;
  return type === "optional" || type === "default" || type === "prefault";
}

/** Keys of the strict object that `path` leads to in `schema`; empty where there is none. */
function keysAt(schema: z.ZodType, path: Path): readonly string[] {
  const found = schemaAt(schema, path);
  const definition = found === null ? null : (unwrap(found) as z.core.$ZodTypes)._zod.def;
  return definition?.type === "object" ? Object.keys(definition.shape) : [];
}

/** The schema of the value that `path` leads to, with its wrappers (defaults); null where there is none. */
export function schemaAt(schema: z.core.$ZodType, path: Path): z.core.$ZodType | null {
  let current = schema;
  for (const step of path) {
    const definition = (unwrap(current) as z.core.$ZodTypes)._zod.def;
    let next: z.core.$ZodType | undefined;
    if (definition.type === "object") next = definition.shape[String(step)];
    else if (definition.type === "array") next = definition.element;
    else if (definition.type === "record") next = definition.valueType;
    if (next === undefined) return null;
    current = next;
  }
  return current;
}

/** The schema inside optional, default and pipe wrappers. */
export function unwrap(schema: z.core.$ZodType): z.core.$ZodType {
  const definition = (schema as z.core.$ZodTypes)._zod.def;
  switch (definition.type) {
    case "optional":
    case "default":
    case "prefault":
    case "readonly":
    case "nullable":
      return unwrap(definition.innerType);
    case "pipe":
      return unwrap(definition.in);
    default:
      return schema;
  }
}
