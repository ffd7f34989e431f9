import fc from "fast-check";
import t from "tap";
import { Breaker, type BreakerLimits } from "../../src/container/breaker.ts";

const LIMITS: BreakerLimits = { containers: 3, within: 60_000, share: 50 };
const START = 1_795_503_185_000;

/** A host with containers; asks the breaker as the daemon does. */
class Host {
  breaker: Breaker;
  readonly down = new Set<string>();
  now = START;
  constructor(limits: Partial<BreakerLimits> = {}) {
    this.breaker = new Breaker({ ...LIMITS, ...limits }, []);
  }
  /** Whether `id` was stopped. */
  stop(id: string, replicas: readonly string[] = [id]): boolean {
    const isDown = (other: string): boolean => this.down.has(other);
    if (this.breaker.refusal(id, replicas, isDown, this.now) !== null) return false;
    this.breaker.count(id, this.now);
    this.down.add(id);
    return true;
  }
}

t.test("so many containers within the time, then none until it is over", async (t) => {
  const host = new Host();
  t.strictSame(
    ["a", "b", "c", "d"].map((id) => host.stop(id)),
    [true, true, true, false],
  );
  t.match(
    host.breaker.refusal("d", ["d"], () => true, host.now),
    /^3 containers were stopped by rules within 60 s, which/,
  );
  t.ok(host.stop("a"), "one that counts already is no more");
  t.equal(host.breaker.lately(host.now), 3);
  host.now += 59_999;
  t.notOk(host.stop("d"));
  host.now += 1;
  t.ok(host.stop("d"));
  t.equal(host.breaker.lately(host.now), 1);
});

t.test("of an image a share, and always one", async (t) => {
  const fleet = (size: number): string[] => Array.from({ length: size }, (_, index) => `r${index}`);
  const stopped = (size: number, share: number): number => {
    const host = new Host({ containers: 1_000, share });
    return fleet(size).filter((id) => host.stop(id, fleet(size))).length;
  };
  t.equal(stopped(1, 50), 1, "a single one is no share");
  t.equal(stopped(1, 1), 1);
  t.equal(stopped(2, 50), 1);
  t.equal(stopped(3, 50), 1);
  t.equal(stopped(4, 50), 2);
  t.equal(stopped(10, 10), 1);
  t.equal(stopped(3, 1), 1);
  t.equal(stopped(5, 100), 5);
});

t.test(
  "the share is of those that are down, however long; the number of those within the time",
  async (t) => {
    const host = new Host({ containers: 2 });
    t.ok(host.stop("a", ["a", "b"]));
    host.now += 3_600_000;
    t.notOk(host.stop("b", ["a", "b"]), "a is still down");
    host.down.delete("a");
    t.ok(host.stop("b", ["a", "b"]), "a was given back");
    host.down.delete("b");
    t.ok(host.stop("c", ["c", "d"]));
    t.notOk(host.stop("e"), "b was stopped within the time, whether it is down or not");
  },
);

t.test("a reset forgets; what is on the disk counts after a restart", async (t) => {
  const host = new Host();
  for (const id of ["a", "b", "c"]) host.stop(id, ["a", "b", "c", "d", "e", "f"]);
  const { breaker } = host;
  host.breaker = new Breaker(LIMITS, JSON.parse(JSON.stringify(breaker.stops())));
  t.notOk(host.stop("x"), "a loop of restarts does not defeat it");
  host.breaker.reset();
  t.ok(host.stop("x"));
  t.ok(host.stop("d", ["a", "b", "c", "d"]), "those that were down before no longer count");
});

t.test("a clock that was set back", async (t) => {
  const host = new Host({ containers: 1 });
  host.stop("a");
  host.down.clear();
  host.now -= 365 * 86_400_000;
  t.notOk(host.stop("b"));
  host.now += 60_000;
  t.ok(host.stop("b"));
});

t.test(
  "whatever happens, neither limit is passed, and a lone container is stopped while there is room",
  async () => {
    const events = fc.array(
      fc.record({
        wait: fc.integer({ min: 0, max: 40_000 }),
        image: fc.integer({ min: 0, max: 2 }),
        replica: fc.integer({ min: 0, max: 4 }),
        given: fc.boolean(),
      }),
      { maxLength: 60 },
    );
    const limits = fc.record({
      containers: fc.integer({ min: 1, max: 6 }),
      within: fc.constant(60_000),
      share: fc.integer({ min: 1, max: 100 }),
    });
    fc.assert(
      fc.property(limits, events, (given, happened) => {
        const host = new Host(given);
        const stops: { id: string; time: number }[] = [];
        for (const { wait, image, replica, given: back } of happened) {
          host.now += wait;
          const size = image === 0 ? 1 : 5;
          const fleet = Array.from({ length: size }, (_, index) => `${image}/${index}`);
          const id = fleet[replica % size]!;
          if (back) host.down.delete(id);
          else if (!host.down.has(id)) {
            const before = new Set(
              stops.filter(({ time }) => host.now - time < given.within).map((one) => one.id),
            );
            const isStopped = host.stop(id, fleet);
            if (isStopped) stops.push({ id, time: host.now });
            if (size === 1 && before.size < given.containers && !isStopped) return false;
          }
          const lately = new Set(
            stops.filter(({ time }) => host.now - time < given.within).map((one) => one.id),
          );
          if (lately.size > given.containers) return false;
          const down = fleet.filter((one) => host.down.has(one)).length;
          if (size > 1 && down > Math.max(1, Math.floor((size * given.share) / 100))) return false;
        }
        return true;
      }),
      { numRuns: 1_000 },
    );
  },
);
