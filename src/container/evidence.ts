/**
 * What a container is at the moment of its block, taken before anything of it is changed: processes, sockets, interfaces.
 *
 * /proc is read by a worker. A process can make the kernel wait when its command line is read (the page is on a file
 * system that it serves itself), and a container must not be able to hold up its own end: what has not come in time is
 * done without, and a worker that is held is left behind.
 */
import { Worker } from "node:worker_threads";
import type { Clock } from "../clock.ts";
import type { Native } from "../native/types.ts";
import { type HostProcesses, hostProcesses } from "./processes.ts";
import type { Container } from "./types.ts";

export interface ProcessEvidence {
  /** On the host, and in the container's own numbering. */
  readonly pid: number;
  readonly innerPid: number;
  readonly parent: number;
  /** Numbers, as the host counts them. */
  readonly user: number;
  readonly group: number;
  /** What it calls itself, at most 15 bytes. */
  readonly name: string;
  /** Path in the container, with ` (deleted)` where it was. */
  readonly executable: string;
  /** Its beginning. Chosen by the process; may hold secrets. */
  readonly commandLine: string;
  readonly startedAt: string | null;
}

export interface SocketEvidence {
  readonly protocol: "tcp" | "udp" | "raw" | "packet";
  /** `listen`, `established`, …; null where there is none. */
  readonly state: string | null;
  /** `ADDRESS:PORT`; of a raw or packet socket what it receives. */
  readonly local: string;
  readonly remote: string | null;
  readonly user: number;
  /** Host pids of those who hold it. */
  readonly processes: readonly number[];
}

export interface InterfaceEvidence {
  readonly name: string;
  readonly hardwareAddress: string;
  readonly addresses: readonly string[];
}

export interface Evidence {
  /** ISO 8601 with milliseconds, UTC. */
  readonly time: string;
  /** Milliseconds. */
  readonly took: number;
  readonly processes: readonly ProcessEvidence[];
  readonly sockets: readonly SocketEvidence[];
  readonly interfaces: readonly InterfaceEvidence[];
  /** How many were left out, because the lists are bounded. */
  readonly omitted: { readonly processes: number; readonly sockets: number };
  /** False when time ran out, or the container had ended. */
  readonly complete: boolean;
}

/** What the worker is asked, and what it finds. */
export interface EvidenceQuestion {
  readonly number: number;
  readonly container: string;
  /** Host pid of its first process. */
  readonly pid: number;
  /** Milliseconds that it may take. */
  readonly time: number;
}
/** The number of what a worker says when it has started; questions count from 1. */
export const READY = 0;
export interface EvidenceAnswer extends Pick<Evidence, "processes" | "sockets" | "omitted" | "complete"> {
  readonly number: number;
}

/** As much of a worker as is needed. */
export interface EvidenceWorker {
  postMessage(question: EvidenceQuestion): void;
  on(event: "message", listener: (answer: EvidenceAnswer) => void): unknown;
  on(event: "error" | "exit", listener: () => void): unknown;
  unref(): void;
  terminate(): Promise<unknown>;
}

export interface EvidenceTakerOptions {
  readonly native: Pick<Native, "links">;
  readonly clock: Clock;
  /** Default: the processes of this host. */
  readonly processes?: HostProcesses;
  /** Default: evidence-worker.ts in a thread. */
  readonly startWorker?: () => EvidenceWorker;
}

/** Milliseconds that the worker may take, and that a block waits for it. */
const WORK_TIME = 100;
const WAIT_TIME = 150;

export class EvidenceTaker {
  readonly #options: EvidenceTakerOptions;
  #worker: EvidenceWorker | null = null;
  /** Whether the worker has started: before that nobody but the machine can hold it up. */
  #ready = false;
  #number = READY;
  readonly #asked = new Map<number, (answer: EvidenceAnswer | null) => void>();

  constructor(options: EvidenceTakerOptions) {
    this.#options = options;
  }

  /** Starts the worker, so that the first block need not wait for that. */
  start(): void {
    this.#worker ??= this.#start();
  }

  /** Does not reject, and is over within WAIT_TIME. */
  async take(container: Container): Promise<Evidence> {
    const { clock, native, processes = hostProcesses } = this.#options;
    const time = new Date(clock.now()).toISOString();
    const began = clock.monotonic();
    const { id, pid, startedAt } = container;
    const lives = pid > 1 && processes.belongs(pid, id, startedAt);
    const answer = lives ? await this.#ask({ container: id, pid, time: WORK_TIME }) : null;
    const { processes: found = [], sockets = [], complete = false } = answer ?? {};
    const omitted = answer?.omitted ?? { processes: 0, sockets: 0 };
    const interfaces = interfacesOf(native, container);
    const took = Math.round(clock.monotonic() - began);
    return { time, took, processes: found, sockets, interfaces, omitted, complete };
  }

  async stop(): Promise<void> {
    const worker = this.#worker;
    this.#worker = null;
    this.#giveUp();
    await worker?.terminate();
  }

  #start(): EvidenceWorker {
    const worker = (this.#options.startWorker ?? startThread)();
    worker.unref();
    this.#ready = false;
    worker.on("message", (answer) => {
      if (answer.number !== READY) this.#asked.get(answer.number)?.(answer);
      else if (this.#worker === worker) this.#ready = true;
    });
    const ended = (): void => {
      if (this.#worker !== worker) return;
      this.#worker = null;
      this.#giveUp();
    };
    worker.on("error", ended);
    worker.on("exit", ended);
    return worker;
  }

  #giveUp(): void {
    for (const answer of [...this.#asked.values()]) answer(null);
  }

  #ask(question: Omit<EvidenceQuestion, "number">): Promise<EvidenceAnswer | null> {
    this.start();
    const number = ++this.#number;
    return new Promise((resolve) => {
      const deadline = this.#options.clock.after(WAIT_TIME, () => {
        if (!this.#ready) {
          // Whoever started it anew each time would never see it start on a slow machine.
          this.#asked.get(number)?.(null);
          return;
        }
        // It is held up. Nobody waits for its end: that is up to who holds it.
        void this.#worker?.terminate();
        this.#worker = this.#start();
        this.#giveUp();
      });
      this.#asked.set(number, (answer) => {
        this.#asked.delete(number);
        deadline.cancel();
        resolve(answer);
      });
      this.#worker?.postMessage({ ...question, number });
    });
  }
}

function startThread(): EvidenceWorker {
  const file = import.meta.url.endsWith(".ts") ? "./evidence-worker.ts" : "./evidence-worker.js";
  return new Worker(new URL(file, import.meta.url), { name: "tidesman-evidence" });
}

/** As they are inside, which need not be what the engine gave. */
function interfacesOf(native: Pick<Native, "links">, container: Container): readonly InterfaceEvidence[] {
  const { networkMode, networkNamespace } = container;
  if (networkMode === "host" || networkNamespace === "") return [];
  try {
    return native
      .links(networkNamespace)
      .map(({ name, hardwareAddress, addresses }) => ({ name, hardwareAddress, addresses }));
  } catch {
    // Gone with the container: there is nothing to be seen.
    return [];
  }
}
