/**
 * `authentication` of a feed. It is read by hand, so that no message repeats what stands there: an operator who put the
 * secret itself into the file must not find it in a log as well.
 */
import { resolve } from "node:path";
import type { Path, SourceDocument } from "../../document.ts";
import { suggestion } from "../../issues.ts";
import type { Authentication, Secret } from "../types.ts";

const FORMS = ["header", "query", "user"] as const;
const SECRETS = ["file", "environment"] as const;
const KEYS: readonly string[] = [...FORMS, "prefix", ...SECRETS];
/** Keys under which other programs take the secret itself. */
const INLINE = /secret|token|passw|key|value|bearer|credential/i;

/** A field name of RFC 9110. */
const HEADER = /^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$/;
/** Headers that belong to the transfer itself. */
const OWN_HEADERS = /^(?:host|connection|content-length|transfer-encoding|te|trailer|upgrade|expect)$/i;
const VARIABLE = /^[A-Za-z_][A-Za-z0-9_]{0,127}$/;
const USER = /^[^\p{Cc}:]{1,256}$/u;
const PRINTABLE = /^[\x20-\x7e]{1,256}$/;

/** Reads the value at `at`, where there is one; null when there is none, or it has problems, which `document` then has. */
export function readAuthentication(
  document: SourceDocument,
  at: Path,
  folder: string,
): Authentication | null {
  const value = document.at(at);
  if (value === undefined) return null;
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    document.problem(at, `needs a mapping with one of ${FORMS.join(", ")}, and one of ${SECRETS.join(", ")}`);
    return null;
  }
  for (const key of Object.keys(value)) {
    if (!KEYS.includes(key)) document.problem([...at, key], unknownKey(key), true);
  }
  const form = one(document, at, value, FORMS, "says where the secret goes");
  const secret = readSecret(document, at, value, folder);
  const prefix = readText(document, at, "prefix", PRINTABLE, "1 to 256 printable ASCII characters") ?? "";
  if (prefix !== "" && form !== "header")
    document.problem([...at, "prefix"], "stands before the value of a `header`; leave it out here", true);
  switch (form) {
    case "header": {
      const name = readText(document, at, "header", HEADER, "the name of a header: `Authorization`");
      if (name !== null && OWN_HEADERS.test(name))
        document.problem([...at, "header"], "is a header of the transfer itself; another is needed");
      return name === null || secret === null ? null : { kind: "header", name, prefix, secret };
    }
    case "query": {
      const name = readText(document, at, "query", PRINTABLE, "the name of a query parameter: `key`");
      return name === null || secret === null ? null : { kind: "query", name, secret };
    }
    case "user": {
      const user = readText(document, at, "user", USER, "a user's name without `:`");
      return user === null || secret === null ? null : { kind: "basic", user, secret };
    }
    default:
      return null;
  }
}

function readSecret(document: SourceDocument, at: Path, value: object, folder: string): Secret | null {
  switch (one(document, at, value, SECRETS, "says where the secret stands")) {
    case "file": {
      const file = readText(document, at, "file", /^[^\0]{1,4096}$/, "the path of a file with the secret");
      return file === null ? null : { file: resolve(folder, file) };
    }
    case "environment": {
      const environment = readText(document, at, "environment", VARIABLE, "the name of a variable");
      return environment === null ? null : { environment };
    }
    default:
      return null;
  }
}

/** The one of `keys` that is there; null, with a problem, when it is not exactly one. */
function one<Key extends string>(
  document: SourceDocument,
  at: Path,
  value: object,
  keys: readonly Key[],
  purpose: string,
): Key | null {
  const [first, second] = keys.filter((key) => Object.hasOwn(value, key));
  if (first === undefined) document.problem(at, `needs one of ${keys.join(", ")}: it ${purpose}`);
  else if (second !== undefined)
    document.problem([...at, second], `stands beside \`${first}\`; exactly one ${purpose}`, true);
  return second === undefined ? (first ?? null) : null;
}

function readText(
  document: SourceDocument,
  at: Path,
  key: string,
  fits: RegExp,
  wanted: string,
): string | null {
  const value = document.at([...at, key]);
  if (value === undefined) return null;
  if (typeof value === "string" && fits.test(value)) return value;
  document.problem([...at, key], `needs ${wanted}`);
  return null;
}

function unknownKey(key: string): string {
  if (!INLINE.test(key)) return `the key is not known${suggestion(key, KEYS)}; allowed: ${KEYS.join(", ")}`;
  return "no secret stands in feeds.yaml, which is read, copied and shown with everything else in it; put it into a file that only root may read and name that under `file`, or name a variable under `environment`";
}
