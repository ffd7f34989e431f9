/** Runs a command to its end and hands back all it said; never through a shell. */
import { spawn } from "node:child_process";

export interface RunResult {
  /** Exit status; 127 when the command does not exist, 128 + signal when it was killed. */
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export type Run = (command: string, args: readonly string[], stdin?: string) => Promise<RunResult>;

/** Longest time a firewall or conntrack command may take; milliseconds. */
const DEADLINE = 20_000;

export const run: Run = (command, args, stdin) =>
  new Promise((resolve) => {
    const child = spawn(command, args, { stdio: ["pipe", "pipe", "pipe"], timeout: DEADLINE });
    let stdout = "";
    let stderr = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
    });
    // The command may end before it has read all of its input; its status tells, not the broken pipe.
    child.stdin.on("error", () => undefined);
    child.on("error", (error) => resolve({ status: 127, stdout, stderr: stderr + error.message }));
    child.on("close", (code, signal) => {
      resolve({ status: code ?? 128 + (signal === "SIGKILL" ? 9 : 15), stdout, stderr });
    });
    child.stdin.end(stdin ?? "");
  });
