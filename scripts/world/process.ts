/** Running programs and waiting for conditions: the two things every part of the lab does. */
import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";

export interface Output {
  /** Exit status; 128 + signal number's stand-in 137 when the program was ended by a signal. */
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ExecuteOptions {
  readonly input?: string | Uint8Array;
  readonly env?: Readonly<Record<string, string>>;
  /** Milliseconds after which the program is killed and `execute` rejects; default 60,000. */
  readonly timeout?: number;
  /** Resolve on any exit status instead of rejecting on a non-zero one. */
  readonly anyStatus?: boolean;
}

/** Runs a program to its end. Rejects with its standard error unless it exits with 0 (or `anyStatus`). */
export async function execute(
  command: string,
  args: readonly string[],
  options: ExecuteOptions = {},
): Promise<Output> {
  const child = spawn(command, args, {
    stdio: ["pipe", "pipe", "pipe"],
    env: { ...process.env, ...options.env },
  });
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => stdout.push(chunk));
  child.stderr.on("data", (chunk: Buffer) => stderr.push(chunk));
  // A program that ends before it read all of its input is judged by its exit status.
  child.stdin.on("error", () => child.stdin.destroy());
  child.stdin.end(options.input);
  const limit = options.timeout ?? 60_000;
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    child.kill("SIGKILL");
  }, limit);
  try {
    const status = await new Promise<number>((resolve, reject) => {
      child.on("error", reject);
      child.on("close", (code) => resolve(code ?? 137));
    });
    const output = {
      status,
      stdout: Buffer.concat(stdout).toString(),
      stderr: Buffer.concat(stderr).toString(),
    };
    const line = [command, ...args].join(" ");
    if (late) throw new Error(`\`${line}\` did not end within ${limit} ms\n${output.stdout}${output.stderr}`);
    if (status !== 0 && options.anyStatus !== true) {
      throw new Error(`\`${line}\` ended with status ${status}\n${output.stdout}${output.stderr}`);
    }
    return output;
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Waits until `condition` gives something other than `undefined`, `null` or `false`, and returns that. A rejection of
 * `condition` counts as "not yet". Rejects after `limit` milliseconds with `what` and the last rejection.
 */
export async function until<T>(
  what: string,
  condition: () => Promise<T | undefined | null | false> | T | undefined | null | false,
  limit = 30_000,
  interval = 50,
): Promise<T> {
  const deadline = performance.now() + limit;
  let last: unknown;
  for (;;) {
    try {
      const value = await condition();
      if (value !== undefined && value !== null && value !== false) return value;
      last = undefined;
    } catch (error) {
      last = error;
    }
    if (performance.now() > deadline) {
      throw new Error(`not within ${limit} ms: ${what}`, last === undefined ? undefined : { cause: last });
    }
    await delay(interval);
  }
}

/** Resolves when the child has ended, at once when it already has. */
export function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined)
    return Promise.resolve();
  // A child that was let go does not keep this process alive; someone who waits for it does.
  child.ref();
  return new Promise((resolve) => child.once("exit", () => resolve()));
}

/**
 * Start time of a process in clock ticks since boot (field 22 of /proc/PID/stat); with the pid it names one process for
 * good, since pids are reused. Null when there is no such process.
 */
export function startTime(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The second field, the program's name in parentheses, may hold anything.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" ? null : (fields[19] ?? null);
  } catch {
    return null;
  }
}
