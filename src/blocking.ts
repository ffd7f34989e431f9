/**
 * What findings with the effect `block` lead to, whoever found them. Their container is cut off and stopped; or, where the
 * circuit breaker leaves no room, it is spared: what was dropped stays dropped, the finding becomes a `prevent` that names
 * the breaker, and the data thread is told to cut it off no more, until there is room and the next finding of it comes.
 *
 * The data thread cuts first and asks afterwards: for a container that is spared that is a few milliseconds without
 * traffic, once, and for all others it is none that passes while we think.
 */
import type { Clock } from "./clock.ts";
import type { BlockOutcome } from "./container/block.ts";
import type { Container } from "./container/types.ts";
import type { Log } from "./log.ts";
import type { Finding } from "./policy/types.ts";
import type { ToDataThread } from "./thread.ts";

export interface BlockingOptions {
  readonly blocker: {
    isBlocked(id: string): boolean;
    refusal(id: string, replicas: readonly string[]): string | null;
    block(container: Container, reason: string): Promise<BlockOutcome>;
    resetBreaker(): Promise<void>;
  };
  readonly registry: { find(id: string): Container | undefined; list(): readonly Container[] };
  readonly data: { send(message: ToDataThread): void };
  readonly clock: Clock;
  readonly log: Pick<Log, "warn">;
}

/** A container that the breaker keeps from being stopped. */
export interface SparedContainer {
  readonly id: string;
  readonly name: string;
  readonly reason: string;
}

interface Spared extends SparedContainer {
  /** Monotonic milliseconds: until then a further finding does not ask the breaker again. */
  readonly until: number;
  /** The same: a container of which nothing was found for so long is spared no more. */
  readonly forget: number;
}

/** Findings come by the thousand, and each question goes over all containers. */
const ASK_EVERY = 1_000;
const FORGET_AFTER = 10 * 60_000;
/** Found when it is there already, so that nothing of it is dropped. */
const NOT_DROPPED: ReadonlySet<Finding["type"]> = new Set(["listeningPort", "portScan", "rawSocket"]);

export class Blocking {
  readonly #options: BlockingOptions;
  readonly #spared = new Map<string, Spared>();
  #refused = 0;

  constructor(options: BlockingOptions) {
    this.#options = options;
  }

  /** The data thread has cut the container off because of `finding`. */
  cutOff(id: string, finding: Finding): void {
    if (this.#refusal(id, finding) !== null) this.#options.data.send({ kind: "spare", container: id });
  }

  /** The finding as it is to be told. What it asks for is begun, unless `cutOff` did. */
  told(finding: Finding): Finding {
    if (finding.effect !== "block" || finding.container === null) return finding;
    const refusal = this.#refusal(finding.container, finding);
    if (refusal === null) return finding;
    this.#refused += finding.count;
    return {
      ...finding,
      effect: NOT_DROPPED.has(finding.type) ? "alert" : "prevent",
      reasons: [...finding.reasons, { kind: "breaker", message: refusal }],
    };
  }

  /** Findings that would have stopped their container, since the start. */
  get refused(): number {
    return this.#refused;
  }

  /** Containers that run only because of the breaker. */
  spared(): readonly SparedContainer[] {
    const now = this.#options.clock.monotonic();
    for (const [id, { forget }] of this.#spared) {
      if (forget <= now || this.#options.registry.find(id) === undefined) this.#spared.delete(id);
    }
    return [...this.#spared.values()].map(({ id, name, reason }) => ({ id, name, reason }));
  }

  /** An operator has looked: rules may stop containers again. Throws TM_STORE. */
  async reset(): Promise<void> {
    this.#spared.clear();
    await this.#options.blocker.resetBreaker();
  }

  /** Null: the container is blocked, by now or before, or there is nothing to be stopped. */
  #refusal(id: string, finding: Finding): string | null {
    const { blocker, registry, data, clock, log } = this.#options;
    if (blocker.isBlocked(id)) return null;
    const now = clock.monotonic();
    const known = this.#spared.get(id);
    if (known !== undefined && now < known.until) return known.reason;
    const container = registry.find(id);
    if (container === undefined) return null;
    const { name } = container;
    const reason = blocker.refusal(id, this.#replicas(container));
    if (reason !== null) {
      if (known === undefined) log.warn({ container: name, rule: finding.rule }, `not blocked: ${reason}`);
      this.#spared.set(id, { id, name, reason, until: now + ASK_EVERY, forget: now + FORGET_AFTER });
      return reason;
    }
    this.#spared.delete(id);
    log.warn({ container: name, rule: finding.rule }, `blocking: ${finding.message}`);
    data.send({ kind: "cut", container: id, cut: true });
    void blocker.block(container, finding.message);
    return null;
  }

  /** Ids of the containers of its image that run, or would if we had not stopped them. */
  #replicas(container: Container): readonly string[] {
    const image = imageOf(container);
    return this.#options.registry
      .list()
      .filter((one) => imageOf(one) === image)
      .filter(({ id, pid }) => id === container.id || pid !== 0 || this.#options.blocker.isBlocked(id))
      .map(({ id }) => id);
  }
}

function imageOf({ imageDigest, image }: Container): string {
  return imageDigest === "" ? image : imageDigest;
}
