/** Real namespaces with real sockets, for the detectors of sockets. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import type { Test } from "tap";
import { unable as unableNative } from "../native/namespace.ts";

/** Why these tests cannot run here, or false when they can. */
export function unable(): string | false {
  const { status } = spawnSync("perl", ["-Mthreads", "-MSocket", "-e", "1"]);
  return status === 0 ? unableNative() : "needs perl with threads";
}

/**
 * Runs a perl program in the namespace and resolves once it has printed a line: that line. The process ends with the test.
 * (Node cannot open raw sockets; perl is on every Debian.)
 */
export async function perl(
  t: Pick<Test, "teardown">,
  namespace: string,
  program: string,
): Promise<{ readonly line: string; readonly pid: number; end(): Promise<void> }> {
  const parameters = [`--net=/run/netns/${namespace}`, "perl", "-MSocket", "-e", `$| = 1; ${program}`];
  const child = spawn("nsenter", parameters, { stdio: ["pipe", "pipe", "inherit"] });
  t.teardown(() => end(child));
  const line = await new Promise<string>((resolve, reject) => {
    let text = "";
    child.once("error", reject);
    child.once("exit", () => reject(new Error(`the program ended without a line: ${program}`)));
    child.stdout.setEncoding("utf8").on("data", (more: string) => {
      text += more;
      if (text.includes("\n")) resolve(text.slice(0, text.indexOf("\n")));
    });
  });
  // nsenter becomes the program, so the pid is that of perl.
  return { line, pid: child.pid ?? 0, end: () => end(child) };
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGKILL");
  await ended;
}
