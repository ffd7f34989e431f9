/** Child processes of the netfilter tests that run in network namespaces, and the calls made to them over IPC. */
import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

interface Answer {
  readonly id: number;
  readonly result?: unknown;
  readonly error?: string;
}

/** A script of this folder at work in a network namespace. */
export class Child {
  readonly #process: ChildProcess;
  readonly #waiting = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>();
  #next = 0;

  constructor(namespace: string, script: string) {
    this.#process = spawn(
      "nsenter",
      [`--net=/run/netns/${namespace}`, process.execPath, fileURLToPath(new URL(script, import.meta.url))],
      { stdio: ["ignore", "inherit", "inherit", "ipc"] },
    );
    this.#process.on("message", (answer: Answer) => {
      const caller = this.#waiting.get(answer.id);
      this.#waiting.delete(answer.id);
      if (answer.error === undefined) caller?.resolve(answer.result);
      else caller?.reject(new Error(`${script}: ${answer.error}`));
    });
    this.#process.on("exit", (code, signal) => {
      for (const caller of this.#waiting.values())
        caller.reject(new Error(`${script} ended: ${code ?? signal}`));
      this.#waiting.clear();
    });
  }

  call<Result = void>(method: string, ...args: readonly unknown[]): Promise<Result> {
    const id = this.#next++;
    return new Promise<Result>((resolve, reject) => {
      this.#waiting.set(id, { resolve: (value) => resolve(value as Result), reject });
      this.#process.send({ id, method, args });
    });
  }

  signal(name: NodeJS.Signals): void {
    this.#process.kill(name);
  }

  async end(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const ended = new Promise((resolve) => this.#process.once("exit", resolve));
    this.#process.kill("SIGKILL");
    await ended;
  }
}

/** The child's side: answers calls with what `methods` return. */
export function serve(methods: Readonly<Record<string, (...args: never[]) => unknown>>): void {
  process.on("message", async ({ id, method, args }: { id: number; method: string; args: never[] }) => {
    try {
      const called = methods[method];
      if (called === undefined) throw new Error(`there is no method ${method}`);
      process.send?.({ id, result: await called(...args) });
    } catch (error) {
      process.send?.({ id, error: error instanceof Error ? (error.stack ?? error.message) : String(error) });
    }
  });
  process.on("disconnect", () => process.exit(0));
}
