/** Network namespaces and processes for benchmarks: what is made here is taken away again. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { run } from "../../src/run.ts";

const here = fileURLToPath(new URL(".", import.meta.url));

export interface Child {
  readonly process: ChildProcess;
  /** Ends it and waits until it is gone. */
  end(): Promise<void>;
}

async function ip(...args: string[]): Promise<void> {
  const { status, stderr } = await run("ip", args);
  if (status !== 0) throw new Error(`ip ${args.join(" ")}: ${stderr.trim()}`);
}

export class Namespace implements AsyncDisposable {
  readonly name: string;

  private constructor(name: string) {
    this.name = name;
  }

  static async create(purpose: string): Promise<Namespace> {
    const namespace = new Namespace(`tm-bench-${purpose}-${process.pid}`);
    await ip("netns", "add", namespace.name);
    await ip("-n", namespace.name, "link", "set", "lo", "up");
    return namespace;
  }

  /** `ip -n NAMESPACE …`. */
  ip(...args: string[]): Promise<void> {
    return ip("-n", this.name, ...args);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await ip("netns", "delete", this.name);
  }

  start(command: readonly string[], output: "pipe" | "ignore" = "ignore"): Child {
    const [program = "", ...args] = command;
    const child = spawn(program, args, { stdio: ["pipe", output, output === "pipe" ? "inherit" : "ignore"] });
    const gone = once(child, "exit");
    return {
      process: child,
      async end() {
        if (child.exitCode === null && child.signalCode === null) child.kill("SIGTERM");
        await gone;
      },
    };
  }

  /** Starts a script of this folder and waits for its first output. */
  async node(script: string, args: readonly (string | number)[], core: number): Promise<Child> {
    const child = this.start(this.#nodeCommand(script, args, core), "pipe");
    if (child.process.stdout === null) throw new Error(`${script} has no output`);
    await Promise.race([
      once(child.process.stdout, "data"),
      once(child.process, "exit").then(() => {
        throw new Error(`${script} ended before it was ready`);
      }),
    ]);
    return child;
  }

  /** Runs a script of this folder to its end. */
  async output(script: string, args: readonly (string | number)[], core: number): Promise<string> {
    const child = this.start(this.#nodeCommand(script, args, core), "pipe");
    let text = "";
    child.process.stdout?.setEncoding("utf8").on("data", (chunk: string) => {
      text += chunk;
    });
    await once(child.process, "close");
    if (child.process.exitCode !== 0) throw new Error(`${script} failed with ${child.process.exitCode}`);
    return text;
  }

  #nodeCommand(script: string, args: readonly (string | number)[], core: number): string[] {
    const command = [
      "taskset",
      "-c",
      String(core),
      process.execPath,
      `${here}${script}`,
      ...args.map(String),
    ];
    return inNamespace(this, command);
  }
}

export function inNamespace(namespace: Namespace, command: readonly string[]): string[] {
  return ["nsenter", `--net=/run/netns/${namespace.name}`, ...command];
}
