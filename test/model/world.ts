/** A store of models on a clock that only tests move. */
import type { Test } from "tap";
import { ManualClock } from "../../src/clock.ts";
import type { ModelSnapshot } from "../../src/model/model.ts";
import { type ModelDetail, ModelStore } from "../../src/model/store.ts";
import type { ContainerFacts, Observation } from "../../src/policy/types.ts";

export const HOUR = 3_600_000;
export const DAY = 24 * HOUR;
export const OLD = "sha256:aa11aa11";
export const NEW = "sha256:bb22bb22";

export function container(imageDigest = OLD, image = "docker.io/library/shop:1"): ContainerFacts {
  return { id: `c-${imageDigest}`, name: "c", image, imageDigest, namespace: null, labels: {} };
}

interface World {
  readonly clock: ManualClock;
  readonly told: ModelSnapshot[];
  readonly removed: string[];
  /** What was told as new after an update. */
  readonly news: Observation[];
  store: ModelStore;
  /** Looks names up, now. */
  look(model: string, ...names: string[]): void;
  /** `state`, with ` learning` behind it where observations are learned. */
  state(model?: string): string;
  show(model?: string): ModelDetail;
  restart(meanwhile?: () => void): void;
}

export function world(t: Test, trialTime = DAY): World {
  const clock = new ManualClock(1_000_000);
  const told: ModelSnapshot[] = [];
  const removed: string[] = [];
  const news: Observation[] = [];
  const file = `${t.testdir()}/models.db`;
  const open = (): ModelStore =>
    new ModelStore({
      file,
      clock,
      learningTime: HOUR,
      trialTime,
      onChange: (snapshot) => told.push(snapshot),
      onRemove: (key) => removed.push(key),
      onNews: (observation) => news.push(observation),
      onNotice: (message) => t.fail(message),
    });
  const w: World = {
    clock,
    told,
    removed,
    news,
    store: open(),
    look(model, ...names) {
      const time = clock.now();
      w.store.observe(
        names.map((name): Observation => ({ kind: "name", model, container: "c1", name, time })),
      );
    },
    state(model = OLD) {
      const found = w.store.snapshot().find(({ key }) => key === model);
      return found === undefined ? "gone" : `${found.state}${found.learning ? " learning" : ""}`;
    },
    show(model = OLD) {
      const detail = w.store.show(model);
      if (detail === undefined) throw new Error(`no model ${model}`);
      return detail;
    },
    restart(meanwhile) {
      w.store.close();
      meanwhile?.();
      w.store = open();
    },
  };
  t.teardown(() => w.store.close());
  return w;
}
