/** What every command is given. */
import type { Command } from "commander";
import type { Config, Places } from "../../config.ts";
import type { Patient } from "../../doctor/patient.ts";
import type { Verdict } from "../../doctor/verdict.ts";
import type { Notice } from "../../document.ts";
import { EXIT, type ExitStatus } from "../../errors.ts";
import type { DeclaredFeed } from "../../feed/types.ts";
import type { PolicyFile } from "../../policy/schema.ts";
import type { FeedHit } from "../../policy/types.ts";
import type { FeedReport } from "../types.ts";
import type { Output } from "./output.ts";

/** Readers of the files an operator writes; each throws its TidesmanError with all problems at once. */
export interface FileReaders {
  config(text: string | null, file: string, hostname: string): Config;
  policy(text: string, file: string): { policy: PolicyFile; notices: readonly Notice[] };
  /** With all that is wrong with files that it names. `bodies`: folder where fetched lists are kept. */
  feeds(
    text: string,
    file: string,
    how: { readonly bodies: string; readonly environment: Readonly<Record<string, string | undefined>> },
  ): { readonly feeds: readonly DeclaredFeed[]; readonly notices: readonly Notice[] };
  /** An export of Prisma Cloud Compute as rules, with what could not be taken over. */
  prisma(text: string, file: string): { policy: PolicyFile; notes: readonly string[] };
  readonly defaultPolicy: PolicyFile;
  /** Manifest that is in force while there is no feeds.yaml. */
  readonly shippedFeeds: string;
}

/** What is done with feeds on the disk, with the daemon or without. */
export interface Intelligence {
  /** Throws TM_FEED, TM_FEED_BUSY, TM_NOT_FOUND, TM_NOT_PERMITTED, TM_STORE. */
  update(
    places: Places,
    request: {
      readonly fetch: "all" | "due" | "none";
      readonly only?: readonly string[];
      /** Whether somebody reads what is wrong, which then is no news the next time. */
      readonly tells?: boolean;
      readonly onStep?: (step: string) => void;
      readonly onProgress?: (feed: string, bytes: number, total: number | null) => void;
    },
  ): Promise<{
    readonly warnings: readonly string[];
    /** Feeds of which another list came into force. */
    readonly taken: readonly string[];
    /** Feeds with something wrong that nobody was told yet. */
    readonly news: readonly string[];
  }>;
  /** What a daemon would start with; null when nothing is compiled. */
  reports(places: Places, complain: (text: string) => void): readonly FeedReport[] | null;
  /** Entries of the feed (`all`: of any) that list the target. Throws TM_NOT_FOUND, TM_USAGE. */
  test(places: Places, name: string, target: string): readonly FeedHit[];
  rollback(places: Places): {
    readonly builtAt: number;
    readonly left: number;
    readonly feeds: readonly string[];
  };
  /** Throws TM_NOT_FOUND when nothing waits. */
  approve(places: Places, name: string): void;
}

export interface Context {
  readonly places: Places;
  readonly output: Output;
  /** Takes what goes to standard error. */
  readonly complain: (text: string) => void;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Loaded when first needed: most commands do not. */
  readonly readers: () => Promise<FileReaders>;
  readonly intelligence: () => Promise<Intelligence>;
  /** Looks at the host. */
  readonly doctor: () => Promise<(patient: Omit<Patient, "host">) => Promise<readonly Verdict[]>>;
  /** Runs the daemon until it is told to stop. */
  readonly runDaemon: (places: Places) => Promise<number>;
}

/** A command's work; what it returns is the exit status. */
export type Action<Options> = (
  context: Context,
  options: Options,
  ...args: readonly string[]
) => Promise<ExitStatus>;

/** One command: its name, arguments and options as commander knows them, and the work to attach. */
export interface CommandModule {
  /** `attach` ties an action to a command or sub-command. */
  define(program: Command, attach: Attach): void;
}

export type Attach = <Options>(command: Command, action: Action<Options>) => void;

export interface JsonOption {
  readonly json?: boolean;
}

export const JSON_OPTION = ["--json", "JSON instead of text"] as const;
export const DONE: ExitStatus = EXIT.ok;
export const FOUND: ExitStatus = EXIT.found;

/** Loads the client when a command needs the daemon. */
export async function connect(context: Context): Promise<import("../client.ts").ControlClient> {
  const { ControlClient } = await import("../client.ts");
  return new ControlClient(context.places.runtimeDirectory);
}
