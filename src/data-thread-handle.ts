/** The main thread's end of the data thread: start it, send it what changed, ask it, hear what it found. */
import { Worker } from "node:worker_threads";
import type { Clock } from "./clock.ts";
import type { ResolvedName } from "./dns/provenance.ts";
import { ERROR_CODES, type ErrorCode, TidesmanError } from "./errors.ts";
import type { Finding, Observation } from "./policy/types.ts";
import type {
  Answer,
  DataThreadStart,
  DataThreadStats,
  FromDataThread,
  Question,
  ToDataThread,
} from "./thread.ts";

export interface DataThreadListener {
  /** A batch; what is not taken over here is lost. */
  events(findings: readonly Finding[], observations: readonly Observation[]): void;
  /** A container was cut off and has to be stopped. */
  block(container: string, finding: Finding): void;
  unknown(vethIndex: number, source: string): void;
  /** Throws while deciding took the fail mode. */
  failure(message: string, count: number): void;
  /** Traffic passed unseen for a while (open mode): the thread had been stopped, or had hung. */
  lapsed(): void;
  /** The thread ended without being told to. */
  died(error: Error): void;
}

/** How long the data thread may take to answer a question before it counts as hanging; milliseconds. */
const ANSWER_DEADLINE = 3000;

export class DataThread {
  readonly #worker: Worker;
  readonly #clock: Clock;
  readonly #questions = new Map<number, (answer: Answer | null) => void>();
  readonly #installs = new Map<number, () => void>();
  #nextQuestion = 1;
  #stopping = false;
  #stopped: (() => void) | undefined;

  private constructor(worker: Worker, clock: Clock) {
    this.#worker = worker;
    this.#clock = clock;
  }

  /** Resolves when sockets and queue are open; rejects with the TidesmanError that kept it from that. */
  static start(start: DataThreadStart, listener: DataThreadListener, clock: Clock): Promise<DataThread> {
    const file = import.meta.url.endsWith(".ts") ? "./data-thread.ts" : "./data-thread.js";
    const worker = new Worker(new URL(file, import.meta.url), { workerData: start, name: "tidesman-data" });
    const thread = new DataThread(worker, clock);
    return new Promise((resolve, reject) => {
      let ready = false;
      worker.on("message", (message: FromDataThread) => {
        if (message.kind === "ready") {
          ready = true;
          resolve(thread);
        } else if (message.kind === "failed") {
          thread.#stopping = true;
          const code = message.code in ERROR_CODES ? (message.code as ErrorCode) : "TM_INTERNAL";
          reject(new TidesmanError(code, message.message));
        } else {
          thread.#receive(message, listener);
        }
      });
      worker.on("error", (thrown) => {
        const error = thrown instanceof Error ? thrown : new TidesmanError("TM_INTERNAL", String(thrown));
        thread.#end();
        if (!ready) reject(error);
        else if (!thread.#stopping) listener.died(error);
        thread.#stopping = true;
      });
      worker.on("exit", (code) => {
        thread.#end();
        if (!ready)
          reject(
            new TidesmanError("TM_INTERNAL", `the data thread ended with status ${code} while starting`),
          );
        else if (!thread.#stopping)
          listener.died(new TidesmanError("TM_INTERNAL", `the data thread ended with status ${code}`));
      });
    });
  }

  send(message: ToDataThread): void {
    this.#worker.postMessage(message);
  }

  /** Resolves when decisions follow the snapshot of that revision. */
  installed(revision: number): Promise<void> {
    return new Promise((resolve) => this.#installs.set(revision, resolve));
  }

  /** Null when the data thread does not answer in time. */
  async stats(): Promise<DataThreadStats | null> {
    const answer = await this.#ask({ kind: "stats" });
    return answer?.kind === "stats" ? answer.stats : null;
  }

  async names(container: string, address: string): Promise<readonly string[]> {
    const answer = await this.#ask({ kind: "names", container, address });
    return answer?.kind === "names" ? answer.names : [];
  }

  /** What the container resolved lately; nothing when the data thread does not answer. */
  async resolved(container: string): Promise<readonly ResolvedName[]> {
    const answer = await this.#ask({ kind: "resolved", container });
    return answer?.kind === "resolved" ? answer.names : [];
  }

  /** Closes queue and sockets, after everything found so far was handed up. */
  async stop(): Promise<void> {
    if (this.#stopping) return;
    this.#stopping = true;
    const stopped = new Promise<void>((resolve) => {
      this.#stopped = resolve;
    });
    this.send({ kind: "stop" });
    const deadline = this.#clock.after(ANSWER_DEADLINE, () => this.#stopped?.());
    await stopped;
    deadline.cancel();
    await this.#worker.terminate();
  }

  #ask(question: Question): Promise<Answer | null> {
    if (this.#stopping) return Promise.resolve(null);
    const id = this.#nextQuestion++;
    return new Promise((resolve) => {
      const deadline = this.#clock.after(ANSWER_DEADLINE, () => {
        this.#questions.delete(id);
        resolve(null);
      });
      this.#questions.set(id, (answer) => {
        deadline.cancel();
        resolve(answer);
      });
      this.send({ kind: "ask", id, question });
    });
  }

  #receive(message: FromDataThread, listener: DataThreadListener): void {
    switch (message.kind) {
      case "events":
        this.send({ kind: "taken", events: message.findings.length + message.observations.length });
        listener.events(message.findings, message.observations);
        break;
      case "block":
        listener.block(message.container, message.finding);
        break;
      case "failure":
        listener.failure(message.message, message.count);
        break;
      case "lapsed":
        listener.lapsed();
        break;
      case "unknown":
        listener.unknown(message.vethIndex, message.source);
        break;
      case "answer": {
        const answered = this.#questions.get(message.id);
        this.#questions.delete(message.id);
        answered?.(message.answer);
        break;
      }
      case "installed": {
        for (const [revision, resolve] of this.#installs) {
          if (revision > message.revision) continue;
          this.#installs.delete(revision);
          resolve();
        }
        break;
      }
      case "stopped":
        this.#stopped?.();
        break;
      case "ready":
      case "failed":
        break;
    }
  }

  #end(): void {
    for (const resolve of this.#questions.values()) resolve(null);
    this.#questions.clear();
    for (const resolve of this.#installs.values()) resolve();
    this.#installs.clear();
    this.#stopped?.();
  }
}
