/** What only many lookups say together, on the data thread: data that leaves in names, and names that malware generates. */
import type { Clock } from "./clock.ts";
import type { Resident } from "./container/table.ts";
import { createExfiltrationDetector } from "./detect/exfiltration.ts";
import { createGeneratedNamesDetector } from "./detect/generated-names.ts";
import { namePayload } from "./detect/label-payload.ts";
import { hashBytes } from "./detect/sketch.ts";
import type { Detection, LookupEvent } from "./detect/types.ts";
import { weighDetection } from "./detections.ts";
import { type DetectorsConfig, exfiltrationOptions, generatedNamesOptions } from "./detector-config.ts";
import type { Answer } from "./dns/answer.ts";
import type { Watch } from "./dns/watch.ts";
import type { Finding, Policy } from "./policy/types.ts";

/** Bytes of an answer below which nothing looks at what is in it. */
const SMALL = 128;

export interface LookupWatchOptions {
  readonly clock: Clock;
  /** Makes hashes unpredictable. */
  readonly seed: number;
  readonly config: Pick<DetectorsConfig, "exfiltration" | "generatedNames">;
  readonly policy: () => Policy;
  readonly report: (finding: Finding, resident: Resident) => void;
}

export class LookupWatch {
  readonly #options: LookupWatchOptions;
  readonly #exfiltration: ReturnType<typeof createExfiltrationDetector>;
  readonly #generated: ReturnType<typeof createGeneratedNamesDetector>;
  /** Used again for every lookup. */
  readonly #event: LookupEvent = {
    container: "",
    phase: "query",
    bytes: new Uint8Array(1),
    offset: 0,
    type: 0,
    rcode: 0,
    size: 0,
    content: 0,
    carried: 0,
  };

  constructor(options: LookupWatchOptions) {
    this.#options = options;
    const { seed, config } = options;
    this.#exfiltration = createExfiltrationDetector({ ...exfiltrationOptions(config.exfiltration), seed });
    this.#generated = createGeneratedNamesDetector({
      ...generatedNamesOptions(config.generatedNames),
      seed,
    });
  }

  readonly watch: Watch = (phase, resident, lookup, answer) => {
    const event = this.#event;
    event.container = resident.container.id;
    event.phase = phase;
    event.bytes = lookup.name;
    event.type = lookup.type;
    event.rcode = answer?.rcode ?? 0;
    event.size = answer?.length ?? 0;
    event.carried = 0;
    if (answer !== null) for (const hop of answer.hops) event.carried += namePayload(hop);
    event.content = answer === null || answer.length < SMALL ? 0 : contentOf(answer, this.#options.seed);
    const now = this.#options.clock.monotonic();
    const told = this.#exfiltration.observe(event, now) ?? this.#generated.observe(event, now);
    // What was told of a domain holds for the lookups that follow, whether they are worth telling or not.
    const holds = told ?? this.#exfiltration.suspicious(event, now);
    if (holds === undefined) return this.#generated.doubts(event, now) ? "told" : "clean";
    return this.#weigh(resident, lookup.name, holds, told !== undefined);
  };

  forget(container: string): void {
    this.#exfiltration.forget(container);
    this.#generated.forget(container);
  }

  #weigh(resident: Resident, name: Uint8Array, detection: Detection, isNew: boolean): ReturnType<Watch> {
    const { profile } = resident;
    if (profile === null) return "clean";
    const { policy, clock, report } = this.#options;
    const about = { container: resident.container.id, profile, name, time: clock.now() };
    const { decision, finding } = weighDetection(policy(), detection, about);
    if (finding === null) return "clean";
    const drops = decision.verdict === "drop";
    // What is let through was told with the first; what is dropped is told each time, and folded by the audit log.
    if (isNew || drops) report(finding, resident);
    return drops ? "drop" : "told";
  }
}

/** Hash of the records, whose TTLs tick down and say nothing. */
function contentOf({ bytes, at, length, questionEnd, ttls }: Answer, seed: number): number {
  let hash = seed;
  let start = at + questionEnd;
  for (const ttl of ttls) {
    hash = hashBytes(bytes, start, at + ttl, hash);
    start = at + ttl + 4;
  }
  return hashBytes(bytes, start, at + length, hash);
}
