/**
 * All models: who runs and what was observed come in, snapshots go out, and the database follows. Everything is decided in
 * memory; changes are written in one transaction every FLUSH_INTERVAL, when the store closes, and never in between, so a
 * kill loses at most that much learning. A state that changes is told at once; new entries, of which there may be many,
 * with the next flush (the data thread that observed them knows them already).
 */
import type { Clock } from "../clock.ts";
import { TidesmanError } from "../errors.ts";
import type { ContainerFacts, ModelState, Observation } from "../policy/types.ts";
import { isDamage, ModelDatabase } from "./database.ts";
import {
  Model,
  type ModelChanges,
  type ModelSnapshot,
  modelKey,
  type NameEntry,
  type PortEntry,
} from "./model.ts";

/** Milliseconds between writes; also how often run time is added up. */
export const FLUSH_INTERVAL = 1000;

export interface ModelStoreOptions {
  /** Database; made with its folder when it is not there. */
  readonly file: string;
  readonly clock: Clock;
  /** Container run time after which a model becomes active; milliseconds. */
  readonly learningTime: number;
  /** A model is new, changed its state, or gained entries. */
  readonly onChange: (snapshot: ModelSnapshot) => void;
  /** Something an operator should know: a damaged file set aside, writes that fail or work again. */
  readonly onNotice: (message: string) => void;
}

/** One line of `models list`. Times in milliseconds, dates since the epoch. */
export interface ModelSummary {
  readonly key: string;
  readonly image: string;
  readonly state: ModelState;
  /** Run time it has learned from, and the time it needs. */
  readonly learnedTime: number;
  readonly learningTime: number;
  /** Running now. */
  readonly containers: number;
  readonly names: number;
  readonly outboundPorts: number;
  /** Entries not taken because the model was full. */
  readonly dropped: number;
  readonly createdAt: number;
  readonly changedAt: number;
}

export interface ModelDetail extends ModelSummary {
  readonly entries: { readonly names: readonly NameEntry[]; readonly outboundPorts: readonly PortEntry[] };
}

export class ModelStore {
  readonly #options: ModelStoreOptions;
  readonly #database: ModelDatabase;
  readonly #models = new Map<string, Model>();
  /** Containers of each model that run now. */
  #running = new Map<string, number>();
  /** `clock.monotonic` up to which run time was added. */
  #addedUpTo: number;
  readonly #removals = new Set<string>();
  /** Models with entries that were not told yet. */
  readonly #grown = new Set<Model>();
  readonly #timer: { cancel(): void };
  #failing = false;

  /** Throws TM_STORE when nothing can be written to the file, or when a newer version wrote it. */
  constructor(options: ModelStoreOptions) {
    this.#options = options;
    const { file, clock, onNotice } = options;
    this.#database = new ModelDatabase(file, clock, onNotice);
    for (const model of this.#database.load()) {
      model.watchAgain(clock.now());
      this.#models.set(model.key, model);
    }
    this.#addedUpTo = clock.monotonic();
    this.#timer = clock.every(FLUSH_INTERVAL, () => this.#tick());
  }

  /** All models, for a data thread that starts. */
  snapshot(): ModelSnapshot[] {
    return Array.from(this.#models.values(), (model) => model.snapshot());
  }

  /** The model that a container teaches; see `modelKey`. */
  keyOf(container: ContainerFacts): string | null {
    return modelKey(container);
  }

  /** All containers that run now. Until the next call their run time goes to their models. */
  running(containers: readonly ContainerFacts[]): void {
    this.#addRunTime();
    const now = this.#options.clock.now();
    const running = new Map<string, number>();
    for (const container of containers) {
      const key = modelKey(container);
      if (key === null) continue;
      const count = running.get(key) ?? 0;
      running.set(key, count + 1);
      if (count > 0) continue;
      const model = this.#models.get(key);
      if (model === undefined) this.#begin(key, container.image, now);
      else if (model.inUse(container.image, now)) this.#tell(model);
    }
    this.#running = running;
    for (const [key, model] of this.#models) {
      if (!running.has(key) && model.unused(now)) this.#tell(model);
    }
  }

  /** What containers did. Models that do not learn take none of it, beyond what was on its way when they ended. */
  observe(batch: readonly Observation[]): void {
    for (const observation of batch) {
      const model = this.#models.get(observation.model);
      if (model?.observe(observation) === "new") this.#grown.add(model);
    }
  }

  /** By image, then key. */
  list(): ModelSummary[] {
    this.#addRunTime();
    return Array.from(this.#models.values(), (model) => this.#summary(model)).sort((a, b) => {
      return a.image < b.image ? -1 : a.image > b.image ? 1 : a.key < b.key ? -1 : 1;
    });
  }

  /**
   * One model with its entries: by key, by the beginning of a digest (with or without `sha256:`) that fits one model
   * only, or by image name (`nginx` is `docker.io/library/nginx` with any tag; the latest changed that is in use wins).
   */
  show(wanted: string): ModelDetail | undefined {
    this.#addRunTime();
    const model = this.#find(wanted);
    if (model === undefined) return undefined;
    const names = [...model.names].sort((a, b) => (a.name < b.name ? -1 : 1));
    const outboundPorts = [...model.ports].sort((a, b) => a.protocol - b.protocol || a.port - b.port);
    return { ...this.#summary(model), entries: { names, outboundPorts } };
  }

  /** Writes what is unsaved and closes the file. Throws TM_STORE when the last batch could not be written. */
  close(): void {
    this.#timer.cancel();
    this.#addRunTime();
    try {
      this.#write();
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      throw new TidesmanError("TM_STORE", `the latest learning could not be written: ${why}`, {
        cause: error,
      });
    } finally {
      this.#database.close();
    }
  }

  #begin(key: string, image: string, now: number): void {
    const model = Model.begin(key, image, now);
    this.#models.set(key, model);
    this.#removals.delete(key);
    this.#tell(model);
  }

  /** Gives the time since the last call to the models of the containers that ran meanwhile. */
  #addRunTime(): void {
    const { clock, learningTime } = this.#options;
    const upTo = clock.monotonic();
    const elapsed = upTo - this.#addedUpTo;
    this.#addedUpTo = upTo;
    for (const [key, containers] of this.#running) {
      const model = this.#models.get(key);
      if (model?.ran(elapsed * containers, learningTime, clock.now())) this.#tell(model);
    }
  }

  #tick(): void {
    this.#addRunTime();
    const now = this.#options.clock.now();
    for (const [key, model] of this.#models) {
      if (!model.isOutlived(now)) continue;
      this.#models.delete(key);
      this.#grown.delete(model);
      this.#removals.add(key);
    }
    for (const model of this.#grown) this.#tell(model);
    this.#flush();
  }

  #tell(model: Model): void {
    this.#grown.delete(model);
    this.#options.onChange(model.snapshot());
  }

  /** Writes; a failure is told once and tried again with everything that comes meanwhile. */
  #flush(): void {
    const { file, onNotice } = this.#options;
    try {
      this.#write();
      if (this.#failing) onNotice(`models are written to \`${file}\` again`);
      this.#failing = false;
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      if (!this.#failing)
        onNotice(`models cannot be written to \`${file}\` for now: ${why}; they are kept in memory`);
      this.#failing = true;
    }
  }

  #write(): void {
    try {
      this.#writeChanges();
    } catch (error) {
      if (!isDamage(error)) throw error;
      this.#database.beginAgain(error);
      for (const model of this.#models.values()) model.lost();
      this.#writeChanges();
    }
  }

  #writeChanges(): void {
    const changed: Model[] = [];
    const changes: ModelChanges[] = [];
    for (const model of this.#models.values()) {
      const change = model.changes;
      if (change === null) continue;
      changed.push(model);
      changes.push(change);
    }
    if (changes.length + this.#removals.size === 0) return;
    this.#database.write(changes, this.#removals);
    for (const model of changed) model.saved();
    this.#removals.clear();
  }

  #summary(model: Model): ModelSummary {
    const { key, image, state, learnedTime, dropped, createdAt, changedAt } = model.record;
    return {
      key,
      image,
      state,
      learnedTime,
      learningTime: this.#options.learningTime,
      containers: this.#running.get(key) ?? 0,
      names: model.nameCount,
      outboundPorts: model.portCount,
      dropped,
      createdAt,
      changedAt,
    };
  }

  #find(wanted: string): Model | undefined {
    const exact = this.#models.get(wanted);
    if (exact !== undefined) return exact;
    const models = [...this.#models.values()];
    const digest = wanted.replace(/^sha256:/, "");
    if (/^[0-9a-f]{6,}$/.test(digest)) {
      const found = models.filter(({ key }) => key.replace(/^sha256:/, "").startsWith(digest));
      if (found.length === 1) return found[0];
    }
    return models
      .filter(({ record }) => namesImage(record.image, wanted))
      .sort((a, b) => {
        const archived = Number(a.record.state === "archived") - Number(b.record.state === "archived");
        return archived || b.record.changedAt - a.record.changedAt;
      })[0];
  }
}

/** Whether `wanted` is the image (`docker.io/library/nginx:1.27`), perhaps without registry, folder and tag. */
function namesImage(image: string, wanted: string): boolean {
  const short = image.replace(/^docker\.io\/(?:library\/)?/, "");
  return [image, short].some((name) => name === wanted || name.replace(/:[^/:]*$/, "") === wanted);
}
