/** Reads the files an operator writes the way the daemon will, and gathers all that is wrong with them. */
import { accessSync, constants, readFileSync } from "node:fs";
import type { Config } from "../../config.ts";
import { systemCode, TidesmanError } from "../../errors.ts";
import type { DeclaredFeed, RemoteList } from "../../feed/types.ts";
import type { PolicyNotice } from "../types.ts";
import type { FileReaders } from "./context.ts";
import { plural } from "./layout.ts";
import type { Output } from "./output.ts";

export interface CheckedFile {
  readonly kind: "configuration" | "policy" | "feeds";
  readonly file: string;
  /** False: it is not there, and the built-in defaults hold. */
  readonly found: boolean;
  /** What is in it, or what holds without it. */
  readonly summary: string;
  /** `FILE:LINE:COLUMN: field: what is wrong`, one each. */
  readonly problems: readonly string[];
  readonly notices: readonly PolicyNotice[];
}

/** `required`: it was named on the command line, so that its absence is a problem. */
export function checkConfig(
  readers: FileReaders,
  file: string,
  required: boolean,
  hostname: string,
): CheckedFile & { readonly config: Config | null } {
  let config: Config | null = null;
  const checked = examine("configuration", file, required, (text) => {
    config = readers.config(text, file, hostname);
    return { summary: text === null ? "not there: built-in defaults" : "read", notices: [] };
  });
  return { ...checked, config };
}

export function checkPolicy(readers: FileReaders, file: string, required: boolean): CheckedFile {
  return examine("policy", file, required, (text) => {
    if (text === null) {
      const names = readers.defaultPolicy.rules.map((rule) => `\`${rule.name}\``).join(", ");
      return { summary: `not there: built-in rule ${names}`, notices: [] };
    }
    const { policy, notices } = readers.policy(text, file);
    return { summary: plural(policy.rules.length, "rule"), notices };
  });
}

export interface FeedsToCheck {
  readonly required: boolean;
  /** Where fetched lists are kept. */
  readonly bodies: string;
  /** Variables that secrets may stand in. */
  readonly environment: Readonly<Record<string, string | undefined>>;
}

export function checkFeeds(readers: FileReaders, file: string, how: FeedsToCheck): CheckedFile {
  return examine("feeds", file, how.required, (text) => {
    if (text === null) {
      const shipped = checkFeeds(readers, readers.shippedFeeds, { ...how, required: true });
      if (shipped.problems.length > 0) throw new TidesmanError("TM_FEED", shipped.problems.join("\n"));
      return {
        summary: `not there: the shipped ${readers.shippedFeeds}, ${shipped.summary}`,
        notices: shipped.notices,
      };
    }
    const sources = readers.feeds(text, file, how.bodies);
    const off = sources.filter((source) => !source.enabled).length;
    const notices = sources.flatMap((source, index): PolicyNotice[] => {
      if (!source.enabled) return [];
      const found = source.remote ? fetchNotices(source, source.remote, how) : pathNotices(source);
      return found.map(({ level, key, message }) => {
        const text = `feed \`${source.name}\`: ${message}`;
        return { level, file, line: 1, column: 1, field: `feeds[${index}].${key}`, message: text };
      });
    });
    return { summary: `${plural(sources.length, "feed")}${off === 0 ? "" : `, ${off} off`}`, notices };
  });
}

interface FeedNotice {
  readonly level: PolicyNotice["level"];
  readonly key: string;
  readonly message: string;
}

function pathNotices({ path }: DeclaredFeed): readonly FeedNotice[] {
  const trouble = unreadable(path);
  if (trouble === null) return [];
  const message = `\`${path}\` cannot be read (${trouble}); the feed will not be in use`;
  return [{ level: "warning", key: "path", message }];
}

/** What keeps a list from being fetched, as far as this host can tell without asking the network. */
function fetchNotices(
  { path }: DeclaredFeed,
  { url, authentication, ca }: RemoteList,
  { environment }: FeedsToCheck,
): readonly FeedNotice[] {
  const notices: FeedNotice[] = [];
  const warn = (key: string, message: string): void => void notices.push({ level: "warning", key, message });
  const trouble = unreadable(path);
  if (trouble === "ENOENT") {
    const message = "not fetched yet; `tidesman feeds update` fetches it, and the timer does";
    notices.push({ level: "info", key: "url", message });
  } else if (trouble !== null)
    warn("url", `the fetched list \`${path}\` cannot be read (${trouble}); it will not be in use`);
  const secret = authentication?.secret;
  if (secret !== undefined && "file" in secret) {
    const why = unreadable(secret.file);
    if (why !== null)
      warn(
        "authentication.file",
        `\`${secret.file}\` cannot be read (${why}); the list cannot be fetched without it`,
      );
  } else if (secret !== undefined && !environment[secret.environment]) {
    warn(
      "authentication.environment",
      `\`${secret.environment}\` is not set here; it has to be where lists are fetched (/etc/tidesman/feeds.env)`,
    );
  }
  if (secret !== undefined && url.startsWith("http:"))
    warn("url", "its secret would be sent without encryption; use https if the server has it");
  const untrusted = ca === undefined ? null : unreadable(ca);
  if (untrusted !== null) warn("ca", `\`${ca}\` cannot be read (${untrusted}); the list cannot be fetched`);
  return notices;
}

function unreadable(path: string): string | null {
  try {
    accessSync(path, constants.R_OK);
    return null;
  } catch (error) {
    return systemCode(error);
  }
}

interface Content {
  readonly summary: string;
  readonly notices: readonly PolicyNotice[];
}

function examine(
  kind: CheckedFile["kind"],
  file: string,
  required: boolean,
  read: (text: string | null) => Content,
): CheckedFile {
  let text: string | null = null;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    const code = systemCode(error);
    if (code !== "ENOENT" || required) {
      const why = code === "ENOENT" ? "is not there" : `cannot be read (${code})`;
      const problems = [`${file}: the file ${why}; check the path and its rights`];
      return { kind, file, found: code !== "ENOENT", summary: why, problems, notices: [] };
    }
  }
  const found = text !== null;
  try {
    return { kind, file, found, problems: [], ...read(text) };
  } catch (error) {
    if (!(error instanceof TidesmanError)) throw error;
    const problems = error.message.split("\n");
    return { kind, file, found, summary: plural(problems.length, "error"), problems, notices: [] };
  }
}

export function writeProblems(output: Output, problems: readonly string[]): void {
  for (const problem of problems) output.text(`error: ${problem}`, "  ", "red");
}

export function writeNotices(output: Output, notices: readonly PolicyNotice[]): void {
  for (const { level, file, line, column, field, message } of notices) {
    const text = `${level === "warning" ? "warning" : "notice"}: ${file}:${line}:${column}: ${field}: ${message}`;
    output.text(text, "  ", level === "warning" ? "yellow" : null);
  }
}
