/**
 * What feeds.yaml refers to on this host, looked at as an update will: lists, names that are kept out of lists, secrets and
 * certificates. Nothing is fetched, and nothing that a secret says is repeated.
 */
import { accessSync, constants } from "node:fs";
import type { Clock } from "../clock.ts";
import { type Notice, type Path, SourceDocument } from "../document.ts";
import { systemCode } from "../errors.ts";
import { Credentials } from "./fetch/credentials.ts";
import { FetchFailure } from "./fetch/failure.ts";
import { readCertificates } from "./fetch/network.ts";
import type { Environment } from "./fetch/proxy.ts";
import { readFeedFile, readFeeds } from "./load.ts";
import { parseManifest } from "./manifest.ts";
import { parsePopular } from "./popular.ts";
import type { DeclaredFeed, RemoteList } from "./types.ts";

export interface FilesOptions {
  /** Where fetched lists are kept. */
  readonly bodies: string;
  /** Variables that secrets may stand in. */
  readonly environment: Environment;
  readonly clock: Clock;
}

export interface CheckedManifest {
  readonly feeds: readonly DeclaredFeed[];
  /** In the order of the file; those of feeds that are off left out. */
  readonly notices: readonly Notice[];
}

/** The manifest with all that is wrong with files it names. Throws TM_FEED for the manifest itself. */
export function checkManifest(text: string, file: string, options: FilesOptions): CheckedManifest {
  const { feeds, popular } = parseManifest(text, file, options.bodies);
  const document = new SourceDocument(text, file);
  for (const [index, path] of popular.entries()) {
    checkPopular(path, (level, message) => document.notice(level, ["popular", index], message));
  }
  for (const [index, feed] of feeds.entries()) {
    if (!feed.enabled) continue;
    const say: Say = (level, key, message) =>
      document.notice(level, ["feeds", index, ...key], `feed \`${feed.name}\`: ${message}`);
    if (feed.remote === undefined) checkList(feed, options.clock, say);
    else checkRemote(feed, feed.remote, options.environment, say);
  }
  return { feeds, notices: document.notices };
}

type Say = (level: Notice["level"], key: Path, message: string) => void;

function checkPopular(path: string, say: (level: Notice["level"], message: string) => void): void {
  const without = "none of its names is kept out of lists";
  try {
    const { names, refused, samples } = parsePopular(readFeedFile(path));
    if (names.size === 0) {
      const why = refused === 0 ? "has no name in it" : `holds no popular name (${samples[0]})`;
      say("warning", `\`${path}\` ${why}; ${without}`);
    } else if (refused > 0) {
      say("info", `\`${path}\`: ${counted(refused)} no name that a list could have: ${samples.join("; ")}`);
    }
  } catch (error) {
    say("warning", `\`${path}\` cannot be read (${reason(error)}); ${without}`);
  }
}

/** A list of this host. */
function checkList(feed: DeclaredFeed, clock: Clock, say: Say): void {
  const [list] = readFeeds([feed], { readFile: readFeedFile, clock });
  if (list === undefined) return;
  const { entries, error, refused, samples } = list.status;
  if (error !== null) say("warning", ["path"], error);
  else if (entries === 0 && !feed.allowEmpty) {
    say(
      "warning",
      ["path"],
      `\`${feed.path}\` has no entries, and \`allowEmpty\` is not set; it will be refused`,
    );
  }
  if (refused > 0) say("info", ["path"], `${counted(refused)} no entry: ${samples.join("; ")}`);
}

/** What keeps a list from being fetched, as far as this host can tell without asking the network. */
function checkRemote(feed: DeclaredFeed, remote: RemoteList, environment: Environment, say: Say): void {
  const trouble = unreadable(feed.path);
  if (trouble === "ENOENT") {
    say("info", ["url"], "not fetched yet; `tidesman feeds update` fetches it, and the timer does");
  } else if (trouble !== null) {
    const message = `the fetched list \`${feed.path}\` cannot be read (${trouble}); it will not be in use`;
    say("warning", ["url"], message);
  }
  checkSecret(remote, environment, say);
  if (remote.ca === undefined) return;
  const why = failureOf(() => readCertificates(remote.ca ?? ""));
  if (why !== null) say("warning", ["ca"], `${why}; the list cannot be fetched`);
}

function checkSecret({ url, authentication }: RemoteList, environment: Environment, say: Say): void {
  if (authentication === undefined) return;
  const { secret } = authentication;
  const key = "file" in secret ? "file" : "environment";
  const why = failureOf(() => new Credentials(authentication, environment, readSecret));
  if (why !== null) {
    const where =
      key === "file" ? "" : " here; it has to be where lists are fetched (/etc/tidesman/feeds.env)";
    say("warning", ["authentication", key], `${why}${where}; the list cannot be fetched without it`);
  }
  if (url.startsWith("http:")) {
    say("warning", ["url"], "its secret would be sent without encryption; use https if the server has it");
  }
}

/** Text of a file with a secret, which has to be a regular one: nothing waits for the writer of a pipe. */
export function readSecret(file: string): string {
  return Buffer.from(readFeedFile(file)).toString("utf8");
}

function failureOf(attempt: () => unknown): string | null {
  try {
    attempt();
    return null;
  } catch (error) {
    if (error instanceof FetchFailure) return error.message;
    throw error;
  }
}

function unreadable(path: string): string | null {
  try {
    accessSync(path, constants.R_OK);
    return null;
  } catch (error) {
    return systemCode(error);
  }
}

function reason(error: unknown): string {
  return systemCode(error) || (error instanceof Error ? error.message : String(error));
}

function counted(lines: number): string {
  return lines === 1 ? "1 line is" : `${lines.toLocaleString("en-US")} lines are`;
}
