/** What the checks look at: the host, through a probe, and what the daemon says of itself where it runs. */
import type { Config, Places } from "../config.ts";
import type { CheckedFile } from "../control/cli/examine.ts";
import type { ContainerReport, FeedReport, StatusReport } from "../control/types.ts";
import type { TidesmanError } from "../errors.ts";
import type { Run } from "../run.ts";
import type { Verdict } from "./verdict.ts";

/** What an engine answered, as JSON, or why there is none: the system's error code, or words. */
export type EngineAnswer = { readonly value: unknown } | { readonly error: string };

/** Everything that a check asks of the host; reading only. */
export interface Host {
  readonly run: Run;
  /** Effective user id. */
  readonly user: number;
  /** Milliseconds since the epoch. */
  now(): number;
  /** Text of a file; null when there is none or it may not be read. */
  read(path: string): string | null;
  /** What the kernel lacks, with the command that mends it (packet/kernel.ts). */
  kernelShortcomings(): readonly string[];
  /** Asks the container engine at a socket (GET). */
  engine(socket: string, path: string): Promise<EngineAnswer>;
  /** Asks a DNS server for the root's servers; null when it answered, whatever it said, else why not. */
  ask(server: { readonly address: string; readonly port: number }): Promise<string | null>;
  /** Bytes of the file system that a path is on, or the nearest folder above it that exists. */
  space(path: string): { readonly free: number; readonly total: number } | null;
  /** Whether this user could write there. */
  access(path: string): "writable" | "absent" | "refused";
}

export interface Patient {
  readonly host: Host;
  readonly places: Places;
  /** As the file says; the built-in one where that has mistakes. */
  readonly config: Config;
  readonly files: readonly CheckedFile[];
  /** Null when the daemon does not answer; `trouble` says why. */
  readonly status: StatusReport | null;
  readonly trouble: TidesmanError | null;
  readonly containers: readonly ContainerReport[];
  /** What is in force, or would be; null when nothing is compiled. */
  readonly feeds: readonly FeedReport[] | null;
  /** Of this command. */
  readonly version: string;
}

export type Check = (patient: Patient) => readonly Verdict[] | Promise<readonly Verdict[]>;
