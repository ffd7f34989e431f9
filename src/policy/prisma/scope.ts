/** Collections as scopes. A rule holds what any of its collections holds; a scope of ours is one of them. */
import type { ScopeFile } from "../schema.ts";
import type { Collection } from "./export.ts";

type Note = (text: string) => void;

export interface NamedScope {
  /** Of the collection; empty where the rule has only one scope to tell from none. */
  readonly name: string;
  /** Undefined: every container. */
  readonly scope: ScopeFile | undefined;
}

/** What the built-in collection of everything is called. */
const EVERYTHING = "All";
const MAX_VALUE = 512;
/** Fields that say nothing of a container on one host. */
const ELSEWHERE = ["clusters", "appIDs", "accountIDs"] as const;

/** The scopes that stand for the collections, each a rule of its own; none when none can be expressed. */
export function scopesOf(collections: readonly Collection[], note: Note): readonly NamedScope[] {
  if (collections.length === 0) return [{ name: "", scope: undefined }];
  const scopes = collections.flatMap((one) => scopesOfOne(one, note));
  const everything = scopes.find(({ scope }) => scope === undefined);
  if (everything !== undefined) return [{ ...everything, name: "" }];
  return scopes.length === 1 ? scopes.map((one) => ({ ...one, name: "" })) : scopes;
}

function scopesOfOne(collection: Collection, note: Note): readonly NamedScope[] {
  const name = collection.name ?? "";
  const { containers, images, labels, namespaces, hosts } = collection;
  if (
    [containers, images, labels, namespaces, hosts].some((values) => values.some((value) => !isValue(value)))
  ) {
    note(`collection \`${name}\` has a value that is empty, excludes nothing or is too long; left out`);
    return [];
  }
  const fields = { containers, images, namespaces, hosts };
  const given = Object.entries(fields).filter(([, values]) => values.length > 0 && !isEverything(values));
  const bare = [...Object.values(fields), labels].every((values) => values.length === 0);
  if (bare && name !== EVERYTHING) {
    note(`collection \`${name}\` is named only, what it holds is not in the file; left out`);
    return [];
  }
  for (const key of ELSEWHERE) {
    const values = collection[key];
    if (values.length > 0 && !isEverything(values))
      note(
        `\`${key}\` of collection \`${name}\` (${values.join(", ")}) left out: the rule holds on every host it is put on`,
      );
  }
  const base: ScopeFile = Object.fromEntries(given);
  const byKey = labelsOf(labels, name, note);
  if (byKey === null) return [];
  const isEmpty = given.length === 0;
  if (byKey.size === 0) return [{ name, scope: isEmpty ? undefined : base }];
  // Labels of different keys are alternatives there, and are all demanded here.
  return [...byKey].map(([key, values]) => ({
    name: byKey.size === 1 ? name : `${name} ${key}`,
    scope: { ...base, labels: { [key]: values } },
  }));
}

/** Values by key; empty: no label is asked for; null: those that are cannot be expressed. */
function labelsOf(
  labels: readonly string[],
  collection: string,
  note: Note,
): ReadonlyMap<string, readonly string[]> | null {
  const byKey = new Map<string, string[]>();
  if (labels.length === 0 || isEverything(labels)) return byKey;
  for (const label of labels) {
    const [, key = "", value = "*"] = /^([^:=*]+)(?:[:=](.+))?$/.exec(label) ?? [];
    if (key === "" || key === "__proto__" || !isValue(value))
      note(`label \`${label}\` of collection \`${collection}\` cannot be asked for by its key; left out`);
    else byKey.set(key, [...(byKey.get(key) ?? []), value]);
  }
  if (byKey.size > 0) return byKey;
  note(`collection \`${collection}\` holds by such labels alone; left out`);
  return null;
}

/** What a scope takes (schema.ts). */
function isValue(value: string): boolean {
  return value !== "" && value !== "-" && value.length <= MAX_VALUE;
}

function isEverything(values: readonly string[]): boolean {
  return values.includes("*") && !values.some((value) => value.startsWith("-"));
}
