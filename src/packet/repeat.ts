/**
 * Findings about a refused connection, told at most once a second each. A refused flow leaves no trace in the kernel
 * (conntrack drops the entry with its first packet), so every retransmission is decided, and refused, anew; without this
 * a container that insists would fill the audit. What is held back is counted and told with the next one.
 */
import type { Clock } from "../clock.ts";
import type { Finding } from "../policy/types.ts";

/** Milliseconds between two findings of one key. */
const INTERVAL = 1000;

interface Told<Subject> {
  readonly finding: Finding;
  readonly subject: Subject;
  /** Monotonic milliseconds. */
  readonly at: number;
  /** Events since the finding was last told. */
  pending: number;
}

export class RepeatedFindings<Subject> {
  readonly #clock: Clock;
  readonly #limit: number;
  readonly #tell: (finding: Finding, subject: Subject) => void;
  /** In the order of insertion; those told within the last second. */
  #recent = new Map<string, Told<Subject>>();
  #timer: { cancel(): void } | undefined;

  /** `limit`: keys remembered at most; beyond it the oldest is told and forgotten early. */
  constructor(options: { clock: Clock; limit: number; tell: (finding: Finding, subject: Subject) => void }) {
    this.#clock = options.clock;
    this.#limit = options.limit;
    this.#tell = options.tell;
  }

  /** Counts one more event of `key`; false when it has not been told in the last second and needs a finding. */
  repeats(key: string): boolean {
    const told = this.#recent.get(key);
    if (told === undefined) return false;
    told.pending++;
    return true;
  }

  /** Tells `finding` now and holds back its repetitions. */
  tell(key: string, finding: Finding, subject: Subject): void {
    if (this.#recent.size >= this.#limit) {
      const [oldest] = this.#recent.keys();
      if (oldest !== undefined) this.#release(oldest);
    }
    this.#recent.set(key, { finding, subject, at: this.#clock.monotonic(), pending: 0 });
    this.#timer ??= this.#clock.after(INTERVAL, () => this.#turn());
    this.#tell(finding, subject);
  }

  /** Tells all that is held back, and forgets it. */
  flush(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    for (const key of [...this.#recent.keys()]) this.#release(key);
  }

  /** Every interval: what repeated is told and goes on being held back; what did not is forgotten. */
  #turn(): void {
    this.#timer = undefined;
    const recent = this.#recent;
    this.#recent = new Map();
    const now = this.#clock.monotonic();
    for (const [key, told] of recent) {
      // Told less than an interval ago: its second is not over.
      if (now - told.at < INTERVAL) {
        this.#recent.set(key, told);
      } else if (told.pending > 0) {
        const finding = { ...told.finding, time: this.#clock.now(), count: told.pending };
        this.#recent.set(key, { finding, subject: told.subject, at: now, pending: 0 });
        this.#tell(finding, told.subject);
      }
    }
    if (this.#recent.size > 0) this.#timer = this.#clock.after(INTERVAL, () => this.#turn());
  }

  #release(key: string): void {
    const told = this.#recent.get(key);
    this.#recent.delete(key);
    if (told === undefined || told.pending === 0) return;
    this.#tell({ ...told.finding, time: this.#clock.now(), count: told.pending }, told.subject);
  }
}
