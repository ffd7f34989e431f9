/**
 * The circuit breaker of `block`: one bad rule, or one false entry of a feed, must not take a fleet down. Pure; time is
 * passed in. Two limits, and a container is stopped by rule only where both leave room:
 *
 * - `containers` different ones within `within`, of whatever image;
 * - of an image with two containers or more, `share` percent of them down at a time, but always one. Only containers that
 *   exist count, so that one that was removed, and made anew by an orchestrator, makes room; the first limit holds then.
 *
 * A stop is forgotten when its time is over and its container is no longer down. `reset` forgets all of them: an operator
 * has looked and lets the rules go on.
 */

export interface BreakerLimits {
  readonly containers: number;
  /** Milliseconds. */
  readonly within: number;
  /** Percent. */
  readonly share: number;
}

/** A container that was stopped by a rule. Plain data, kept on the disk so that a restart does not forget it. */
export interface Stop {
  readonly id: string;
  /** Milliseconds since the epoch. */
  readonly time: number;
}

export class Breaker {
  readonly limits: BreakerLimits;
  /** When each was stopped, milliseconds since the epoch. */
  readonly #stops = new Map<string, number>();

  constructor(limits: BreakerLimits, stops: readonly Stop[]) {
    this.limits = limits;
    for (const { id, time } of stops) this.#stops.set(id, time);
  }

  /**
   * Why `id` may not be stopped by a rule now; null: it may. `replicas`: containers of its image that run or are down
   * because of a block, itself included; `isDown`: which of them are.
   */
  refusal(
    id: string,
    replicas: readonly string[],
    isDown: (id: string) => boolean,
    now: number,
  ): string | null {
    this.#forget(isDown, now);
    const { containers, within, share } = this.limits;
    const lately = [...this.#stops].filter(([other, time]) => other !== id && now - time < within).length;
    if (lately >= containers) {
      return `${count(lately)} stopped by rules within ${minutes(within)}, which is as many as block.breaker allows`;
    }
    if (replicas.length < 2) return null;
    const down = replicas.filter((other) => other !== id && this.#stops.has(other) && isDown(other)).length;
    if (down < Math.max(1, Math.floor((replicas.length * share) / 100))) return null;
    return `${down} of the ${replicas.length} containers of its image ${down === 1 ? "is" : "are"} stopped by rules, which is as many as block.breaker allows`;
  }

  /** `id` is being stopped by a rule. */
  count(id: string, now: number): void {
    this.#stops.set(id, now);
  }

  /** Stopped within the time that counts. */
  lately(now: number): number {
    return [...this.#stops.values()].filter((time) => now - time < this.limits.within).length;
  }

  stops(): readonly Stop[] {
    return [...this.#stops].map(([id, time]) => ({ id, time }));
  }

  reset(): void {
    this.#stops.clear();
  }

  #forget(isDown: (id: string) => boolean, now: number): void {
    for (const [id, time] of this.#stops) {
      // A clock that was set back must not let a stop count for longer than it should.
      if (time > now) this.#stops.set(id, now);
      else if (now - time >= this.limits.within && !isDown(id)) this.#stops.delete(id);
    }
  }
}

function count(containers: number): string {
  return containers === 1 ? "1 container was" : `${containers} containers were`;
}

function minutes(milliseconds: number): string {
  return milliseconds < 120_000
    ? `${Math.round(milliseconds / 1_000)} s`
    : `${Math.round(milliseconds / 60_000)} min`;
}
