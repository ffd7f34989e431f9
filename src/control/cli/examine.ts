/** Reads the files an operator writes the way the daemon will, and gathers all that is wrong with them. */
import { accessSync, constants, type Stats, statSync } from "node:fs";
import type { Config } from "../../config.ts";
import { SourceDocument } from "../../document.ts";
import { EXIT, type ExitStatus, systemCode, TidesmanError } from "../../errors.ts";
import { readInput } from "../models/files.ts";
import type { PolicyNotice } from "../types.ts";
import type { FileReaders } from "./context.ts";
import { plural } from "./layout.ts";
import type { Output } from "./output.ts";

export interface CheckedFile {
  readonly kind: "configuration" | "policy" | "feeds";
  readonly file: string;
  /** False: it is not there, and the built-in defaults hold. */
  readonly found: boolean;
  /** False: this user may not read it, so that nothing is known of what is in it. */
  readonly permitted: boolean;
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
    const notices = configNotices(config, text, file);
    return { summary: text === null ? "not there: built-in defaults" : "read", notices };
  });
  return { ...checked, config };
}

/** Files that the configuration names, as far as the daemon will need them. */
function configNotices({ dns, docker }: Config, text: string | null, file: string): readonly PolicyNotice[] {
  const document = new SourceDocument(text ?? "{}", file);
  if (dns.upstreams.length === 0) {
    const why = troubleWith(dns.resolvConf, (stat) => stat.isFile() || "it is not a file");
    if (why !== null) {
      const message = `\`${dns.resolvConf}\` cannot be read (${why}); without \`dns.upstreams\` nobody is asked`;
      document.notice("warning", ["dns", "resolvConf"], message);
    }
  }
  const why = troubleWith(docker.socket, (stat) => stat.isSocket() || "it is not a socket");
  if (why !== null) {
    const message = `\`${docker.socket}\` cannot be used (${why}); no container is known until it can`;
    document.notice(why === "ENOENT" ? "info" : "warning", ["docker", "socket"], message);
  }
  return document.notices;
}

/** Why a file cannot be read, or is not what `fits` wants; null when all is well. */
function troubleWith(path: string, fits: (stat: Stats) => true | string): string | null {
  try {
    accessSync(path, constants.R_OK);
    const answer = fits(statSync(path));
    return answer === true ? null : answer;
  } catch (error) {
    return systemCode(error);
  }
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
    const { feeds, notices } = readers.feeds(text, file, how);
    const off = feeds.filter((feed) => !feed.enabled).length;
    return { summary: `${plural(feeds.length, "feed")}${off === 0 ? "" : `, ${off} off`}`, notices };
  });
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
    text = readInput(file);
  } catch (error) {
    const code = systemCode(error);
    if (code !== "ENOENT" || required) {
      const why = code === "ENOENT" ? "is not there" : `cannot be read (${code})`;
      const permitted = code !== "EACCES" && code !== "EPERM";
      const problems = [
        `${file}: the file ${why}; ${permitted ? "check the path and its rights" : "run this as root"}`,
      ];
      return { kind, file, found: code !== "ENOENT", permitted, summary: why, problems, notices: [] };
    }
  }
  const found = text !== null;
  try {
    return { kind, file, found, permitted: true, problems: [], ...read(text) };
  } catch (error) {
    if (!(error instanceof TidesmanError)) throw error;
    const problems = error.message.split("\n");
    const summary = plural(problems.length, "error");
    return { kind, file, found, permitted: true, summary, problems, notices: [] };
  }
}

/** Exit status of a check: what may not be read comes after what is wrong with the rest. */
export function statusOf(files: readonly CheckedFile[]): ExitStatus {
  const bad = files.filter(({ problems }) => problems.length > 0);
  if (bad.length === 0) return EXIT.ok;
  return bad.every(({ permitted }) => !permitted) ? EXIT.notPermitted : EXIT.usage;
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
