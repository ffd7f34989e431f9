/** The files an operator writes, read from their places: what is missing has built-in defaults. */
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { hostname } from "node:os";
import { fileURLToPath } from "node:url";
import { isDeepStrictEqual } from "node:util";
import { type Config, loadConfig, type Places } from "./config.ts";
import { DEFAULT_PLACES } from "./control/places.ts";
import { type ErrorCode, systemCode, TidesmanError } from "./errors.ts";
import { parseManifest } from "./feed/manifest.ts";
import { DEFAULT_POLICY, type Notice, parsePolicy } from "./policy/parse.ts";
import type { PolicyFile } from "./policy/schema.ts";

/** Text of a file; null when there is none. Throws with `code` when it is there and cannot be read. */
export function readText(file: string, code: ErrorCode): string | null {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    const reason = systemCode(error);
    if (reason === "ENOENT") return null;
    if (reason === "EACCES" || reason === "EPERM") {
      throw new TidesmanError("TM_NOT_PERMITTED", `\`${file}\` may not be read by this user; run as root`);
    }
    const detail = error instanceof Error ? error.message : String(error);
    throw new TidesmanError(code, `\`${file}\` cannot be read: ${detail}`);
  }
}

/** A file named on the command line has to be there; one at its built-in place need not. */
function readNamed(file: string, named: boolean, missing: ErrorCode, code: ErrorCode): string | null {
  const text = readText(file, code);
  if (text === null && named)
    throw new TidesmanError(missing, `\`${file}\` does not exist; correct the path`);
  return text;
}

export function readConfig(places: Places): Config {
  const named = places.configFile !== DEFAULT_PLACES.configFile;
  const text = readNamed(places.configFile, named, "TM_CONFIG_MISSING", "TM_CONFIG");
  return loadConfig(text, places.configFile, hostname());
}

/** What a reload has to say of tidesman.yaml, which is read at the start alone; null while it says what runs. */
export function configNews(places: Places, running: Config): string | null {
  try {
    if (isDeepStrictEqual(readConfig(places), running)) return null;
    return `\`${places.configFile}\` differs from what runs: it is read at the start; restart the daemon to put it in force`;
  } catch (error) {
    return `the running configuration stays: ${error instanceof Error ? error.message : String(error)}`;
  }
}

export interface ReadPolicy {
  readonly policy: PolicyFile;
  readonly notices: readonly Notice[];
  /** The file's own text; null: there is no file, and the built-in rules hold. */
  readonly text: string | null;
}

export function readPolicy(places: Places): ReadPolicy {
  const named = places.policyFile !== DEFAULT_PLACES.policyFile;
  const text = readNamed(places.policyFile, named, "TM_POLICY_MISSING", "TM_POLICY");
  if (text === null) return { policy: DEFAULT_POLICY, notices: [], text: null };
  return { ...parsePolicy(text, places.policyFile), text };
}

/** The manifest that ships with the product, in force while there is no feeds.yaml. */
export const SHIPPED_FEEDS = fileURLToPath(new URL("../feeds/feeds.yaml", import.meta.url));

/** The manifest of feeds in force. Throws TM_FEED when one that was named does not exist. */
export function feedManifest(places: Places): string {
  if (existsSync(places.feedsFile)) return places.feedsFile;
  if (places.feedsFile === DEFAULT_PLACES.feedsFile) return SHIPPED_FEEDS;
  throw new TidesmanError("TM_FEED", `\`${places.feedsFile}\` does not exist; correct the path`);
}

/**
 * All files of an operator, for the start: the configuration, or one error with what is wrong with any of them, under the code of
 * the first.
 */
export function readAll(places: Places): Config {
  const errors: TidesmanError[] = [];
  const attempt = <Result>(read: () => Result): Result | null => {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof TidesmanError)) throw error;
      errors.push(error);
      return null;
    }
  };
  const config = attempt(() => readConfig(places));
  attempt(() => readPolicy(places));
  attempt(() => {
    const manifest = feedManifest(places);
    parseManifest(readText(manifest, "TM_FEED") ?? "", manifest);
  });
  const [first, ...rest] = errors;
  if (first !== undefined) {
    if (rest.length === 0) throw first;
    throw new TidesmanError(first.code, errors.map(({ message }) => message).join("\n"), { cause: first });
  }
  if (config === null) throw new Error("a file that was not read has problems");
  return config;
}

/** Makes a folder, and those above it. Throws TM_NOT_PERMITTED. */
export function makeDirectory(path: string, mode: number): void {
  try {
    mkdirSync(path, { recursive: true, mode });
  } catch (error) {
    const code = systemCode(error);
    if (code === "EACCES" || code === "EPERM" || code === "EROFS") {
      throw new TidesmanError(
        "TM_NOT_PERMITTED",
        `the folder \`${path}\` may not be made by this user; run as root`,
      );
    }
    throw error;
  }
}
