/** Time that jumps: a clock that is set, and a process that is stopped. */
import t from "tap";
import { ManualClock } from "../../src/clock.ts";
import { ARCHIVE_TIME } from "../../src/model/model.ts";
import { ModelStore } from "../../src/model/store.ts";
import { container, HOUR, OLD, world } from "./world.ts";

t.test("a clock that is set ends no trial before its time, and prolongs none", async (t) => {
  const w = world(t, 2 * HOUR);
  w.store.running([container()]);
  w.look(OLD, "a.shop.example");
  w.clock.advance(HOUR);
  // The hardware clock was wrong, and the network sets it right.
  w.clock.set(Date.UTC(2026, 10, 24));
  w.clock.advance(HOUR);
  t.equal(w.state(), "active learning");
  w.look(OLD, "b.shop.example");
  t.equal(w.state(), "learning learning", "what is new still leads back");
  w.clock.advance(HOUR);
  w.clock.set(1_000);
  w.clock.advance(HOUR);
  w.look(OLD, "c.shop.example");
  t.equal(w.state(), "learning learning", "also by a clock that was set back");
  w.clock.advance(HOUR);
  w.clock.advance(2 * HOUR - 1000);
  t.equal(w.state(), "active learning");
  w.clock.advance(1000);
  t.equal(w.state(), "active");
});

t.test("a clock that is set removes no archived model before its time, and keeps none longer", async (t) => {
  const w = world(t);
  w.store.running([container()]);
  w.store.running([]);
  w.clock.advance(HOUR);
  w.clock.set(Date.UTC(2026, 10, 24));
  w.clock.advance(HOUR);
  t.equal(w.state(), "archived");
  w.clock.set(1_000);
  w.clock.advance(ARCHIVE_TIME - 2 * HOUR - 1000);
  t.equal(w.state(), "archived");
  w.clock.advance(1000);
  t.equal(w.state(), "gone");
});

t.test("a trial that began by a wrong clock lasts a trial's time after a restart", async (t) => {
  const w = world(t, 2 * HOUR);
  w.store.running([container()]);
  w.clock.set(Date.UTC(2126, 0, 1));
  w.clock.advance(HOUR);
  w.restart(() => w.clock.set(Date.UTC(2026, 10, 24)));
  w.store.running([container()]);
  w.clock.advance(2 * HOUR - 1000);
  t.equal(w.state(), "active learning");
  w.clock.advance(1000);
  t.equal(w.state(), "active");
});

t.test("time in which the process was stopped is no run time", async (t) => {
  const clock = new ManualClock(0);
  let stopped = 0;
  const models = new ModelStore({
    file: `${t.testdir()}/models.db`,
    clock: {
      now: () => clock.now() + stopped,
      monotonic: () => clock.monotonic() + stopped,
      after: (ms, callback) => clock.after(ms, callback),
      every: (ms, callback) => clock.every(ms, callback),
    },
    learningTime: HOUR,
    onChange: () => undefined,
    onNotice: (message) => t.fail(message),
  });
  t.teardown(() => models.close());
  models.running([container()]);
  clock.advance(60_000);
  stopped = 2 * HOUR;
  clock.advance(60_000);
  t.match(models.show(OLD), { state: "learning" });
  t.ok((models.show(OLD)?.learnedTime ?? 0) <= 150_000);
});
