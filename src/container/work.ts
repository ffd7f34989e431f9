/**
 * Jobs by key with bounded concurrency: a key that is asked for while its job runs is run once more afterwards, however
 * often it was asked for. The first job starts at once; an urgent one passes the bound and the queue.
 */
interface Job {
  state: "waiting" | "running" | "again";
  readonly done: Promise<void>;
  readonly resolve: () => void;
}

export class Work {
  readonly #limit: number;
  readonly #run: (key: string) => Promise<void>;
  readonly #jobs = new Map<string, Job>();
  #running = 0;

  /** `run` must not reject. */
  constructor(limit: number, run: (key: string) => Promise<void>) {
    this.#limit = limit;
    this.#run = run;
  }

  /** Resolves when the key's job has run from its start after this call, or was forgotten. */
  ask(key: string, urgent = false): Promise<void> {
    let job = this.#jobs.get(key);
    if (job === undefined) {
      const { promise, resolve } = Promise.withResolvers<void>();
      job = { state: "waiting", done: promise, resolve };
      this.#jobs.set(key, job);
    }
    if (job.state === "running") job.state = "again";
    else if (job.state === "waiting" && (urgent || this.#running < this.#limit)) void this.#start(key, job);
    return job.done;
  }

  /** Drops a key that waits; one that runs is left to end. */
  forget(key: string): void {
    const job = this.#jobs.get(key);
    if (job === undefined) return;
    if (job.state === "again") job.state = "running";
    if (job.state !== "waiting") return;
    this.#jobs.delete(key);
    job.resolve();
  }

  /** Resolves when everything that was asked for until now has run. */
  async idle(): Promise<void> {
    await Promise.all([...this.#jobs.values()].map((job) => job.done));
  }

  async #start(key: string, job: Job): Promise<void> {
    this.#running++;
    do {
      job.state = "running";
      await this.#run(key);
    } while (isAskedAgain(job));
    this.#running--;
    this.#jobs.delete(key);
    job.resolve();
    for (const [next, waiting] of this.#jobs) {
      if (this.#running >= this.#limit) break;
      if (waiting.state === "waiting") void this.#start(next, waiting);
    }
  }
}

/** The state may have changed while the job ran, which the compiler cannot see. */
function isAskedAgain(job: Job): boolean {
  return job.state === "again";
}
