/**
 * YAML text → checked plain data, with a line and a column for every problem. All problems of a file are gathered
 * before it is refused, so that an operator corrects it once. Used for every file that an operator writes.
 */
import {
  type Alias,
  type Document,
  isMap,
  isPair,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseDocument,
  Scalar,
  visit,
} from "yaml";
import type { z } from "zod";
import { type ErrorCode, TidesmanError } from "./errors.ts";
import { explainIssue, quote } from "./issues.ts";

/** Keys and list indexes from the top of the document down to a value. */
export type Path = readonly (string | number)[];

/** Something an operator should know about a file that was accepted. */
export interface Notice {
  /** `warning`: probably not what was meant. `info`: true, and worth knowing. */
  readonly level: "info" | "warning";
  readonly file: string;
  readonly line: number;
  readonly column: number;
  /** `rules[0].dns.allowed[1]`. */
  readonly field: string;
  readonly message: string;
}

interface Problem {
  readonly offset: number;
  readonly field: string;
  readonly message: string;
}

/** Characters of text accepted; far above any real file, and below what could hold up the daemon. */
export const MAX_TEXT = 4 * 1024 * 1024;
/** Most values that aliases may expand to (yaml counts the product), which bounds an alias bomb. */
const MAX_ALIASES = 100;

export class SourceDocument {
  readonly file: string;
  /** Plain data as it stands in the file, unchecked; undefined when the text is no YAML. Null: an empty file. */
  readonly value: unknown;
  readonly #document: Document.Parsed | null;
  readonly #lines = new LineCounter();
  /** Whether the text is no YAML: then its data is a guess, and checking it would only add noise. */
  #malformed = false;
  readonly #problems: Problem[] = [];
  readonly #notices: Notice[] = [];

  /** Never throws: what is wrong with `text` is a problem of the document. */
  constructor(text: string, file: string) {
    this.file = file;
    this.#document = this.#parse(text);
    this.value = this.#document === null ? undefined : this.#plain(this.#document);
  }

  #parse(text: string): Document.Parsed | null {
    if (text.length > MAX_TEXT) {
      this.#add(0, "", `the file has ${text.length} characters; at most ${MAX_TEXT} are read`);
      return null;
    }
    const options = {
      lineCounter: this.#lines,
      prettyErrors: false,
      stringKeys: true,
      resolveKnownTags: false,
    };
    const document = parseDocument(text, { ...options, version: "1.2" as const, logLevel: "error" as const });
    for (const error of [...document.errors, ...document.warnings]) {
      // A `*` alone; told as every wildcard without quotes is.
      if (error.code === "BAD_ALIAS") continue;
      if (error.code !== "DUPLICATE_KEY") this.#malformed = true;
      const at = error.code === "DUPLICATE_KEY" ? text.slice(error.pos[0]).match(/^[^\s:]+/)?.[0] : undefined;
      const what = at === undefined ? lowerFirst(error.message) : `the key \`${at}\` stands here twice`;
      this.#add(error.pos[0], "", `${what}; the file must be plain YAML 1.2 with each key once`);
    }
    return document;
  }

  #plain(document: Document.Parsed): unknown {
    let circular = false;
    visit(document, {
      Alias: (_key, alias, ancestors) => {
        const target = alias.resolve(document);
        if (target === undefined) return this.#unnamed(alias, ancestors);
        if (!ancestors.some((ancestor) => ancestor === target)) return;
        circular = true;
        this.#add(
          alias.range?.[0] ?? 0,
          "",
          `the alias \`*${alias.source}\` stands inside what it names; write it out`,
        );
        return;
      },
      Pair: (_key, pair) => {
        // As a property it would be swallowed by every reader of plain objects, a selector with it.
        if (!isScalar(pair.key) || pair.key.value !== "__proto__") return;
        this.#add(pair.key.range?.[0] ?? 0, "", "`__proto__` is no key that can be used here; take it out");
      },
    });
    if (circular) return undefined;
    try {
      return document.toJS({ maxAliasCount: MAX_ALIASES });
    } catch (error) {
      const what = error instanceof Error ? lowerFirst(error.message) : String(error);
      this.#add(
        document.contents?.range?.[0] ?? 0,
        "",
        `${what}; at most ${MAX_ALIASES} values may come from aliases`,
      );
      return undefined;
    }
  }

  /** A pattern without quotes (`*.example.com`) is an alias to YAML. It is taken as the text it was meant as, so that all else is told too. */
  #unnamed(alias: Alias, ancestors: readonly unknown[]): Scalar {
    const written = `*${alias.source}`;
    const at = alias.range?.[0] ?? 0;
    const what = `${quote(written)} without quotes is a YAML alias, and nothing has that name; write it in quotes: "${written}"`;
    this.#add(at, fieldName(pathOf([...ancestors, alias])), what);
    const text = new Scalar(written);
    text.range = alias.range ?? null;
    return text;
  }

  /** Checks the whole document; null when it does not fit, and then every misfit has become a problem. */
  check<Schema extends z.ZodType>(schema: Schema): z.output<Schema> | null {
    if (this.value === undefined || this.#malformed) return null;
    if (this.value === null) {
      this.#add(0, "", "the file is empty; see the documentation for what belongs in it");
      return null;
    }
    const result = schema.safeParse(this.value);
    if (result.success) return result.data;
    for (const issue of result.error.issues) {
      for (const { path, message, onKey } of explainIssue(issue, schema, this.value)) {
        this.problem(path, message, onKey);
      }
    }
    return null;
  }

  /** Adds a problem at the value (or, with `onKey`, the key) that `path` leads to, or at its nearest parent. */
  problem(path: Path, message: string, onKey = false): void {
    this.#add(this.#offset(path, onKey), fieldName(path), message);
  }

  notice(level: Notice["level"], path: Path, message: string, onKey = false): void {
    const { line, col } = this.#lines.linePos(this.#offset(path, onKey));
    const place = { file: this.file, line: Math.max(1, line), column: Math.max(1, col) };
    this.#notices.push({ level, ...place, field: fieldName(path), message });
  }

  /** In the order of the file. */
  get notices(): readonly Notice[] {
    return this.#notices.toSorted((a, b) => a.line - b.line || a.column - b.column);
  }

  /** The value at `path`, unchecked; undefined when there is none, or the text is no YAML. */
  at(path: Path): unknown {
    return this.#malformed ? undefined : valueAt(this.value, path);
  }

  /** Throws all problems, if there are any, as one error: a line `FILE:LINE:COLUMN: field: …` for each. */
  refuse(code: ErrorCode): void {
    if (this.#problems.length === 0) return;
    const lines = this.#problems
      .toSorted((a, b) => a.offset - b.offset)
      .map(({ offset, field, message }) => {
        const { line, col } = this.#lines.linePos(offset);
        const place = `${this.file}:${Math.max(1, line)}:${Math.max(1, col)}`;
        return field === "" ? `${place}: ${message}` : `${place}: ${field}: ${message}`;
      });
    throw new TidesmanError(code, [...new Set(lines)].join("\n"));
  }

  #add(offset: number, field: string, message: string): void {
    this.#problems.push({ offset, field, message });
  }

  #offset(path: Path, onKey: boolean): number {
    let node: Node | null | undefined = this.#document?.contents;
    let offset = node?.range?.[0] ?? 0;
    for (const [depth, step] of path.entries()) {
      let next: unknown;
      if (isMap(node)) {
        const pair = node.items.find((item) => isScalar(item.key) && String(item.key.value) === String(step));
        if (pair === undefined) return offset;
        const key = isScalar(pair.key) ? pair.key.range?.[0] : undefined;
        if (key !== undefined && (pair.value === null || (onKey && depth === path.length - 1))) return key;
        next = pair.value;
      } else if (isSeq(node) && typeof step === "number") next = node.items[step];
      else return offset;
      // An alias is shown where it stands, and followed for what lies below it.
      const here = rangeStart(next);
      if (here !== undefined) offset = here;
      node = this.#resolve(next);
    }
    return offset;
  }

  #resolve(node: unknown): Node | null {
    if (!isNodeLike(node) || this.#document === null) return null;
    return "source" in node && "resolve" in node && typeof node.resolve === "function"
      ? (node.resolve(this.#document) ?? null)
      : node;
  }
}

/** Keys and indexes on the way down through `nodes`, the last of which is the value. */
function pathOf(nodes: readonly unknown[]): Path {
  return nodes.flatMap((node, depth): Path => {
    if (isPair(node) && isScalar(node.key)) return [String(node.key.value)];
    return isSeq(node) ? [node.items.indexOf(nodes[depth + 1])] : [];
  });
}

function isNodeLike(value: unknown): value is Node {
  return typeof value === "object" && value !== null && "range" in value;
}

function rangeStart(node: unknown): number | undefined {
  return isNodeLike(node) ? node.range?.[0] : undefined;
}

/** `rules[0].dns.allowed[1]`; keys that are no plain word are quoted. */
export function fieldName(path: Path): string {
  let text = "";
  for (const step of path) {
    if (typeof step === "number") text += `[${step}]`;
    else if (/^[\w-]+$/.test(step)) text += text === "" ? step : `.${step}`;
    else text += `[${quote(step)}]`;
  }
  return text;
}

/** The value that `path` leads to in plain data; own properties only. */
export function valueAt(value: unknown, path: Path): unknown {
  let current: unknown = value;
  for (const step of path) {
    if (typeof current !== "object" || current === null || !Object.hasOwn(current, step)) return undefined;
    current = Reflect.get(current, step);
  }
  return current;
}

function lowerFirst(text: string): string {
  return text.slice(0, 1).toLowerCase() + text.slice(1).replace(/[\s.]+$/, "");
}
