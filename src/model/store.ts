/**
 * All models: who runs and what was observed come in, snapshots go out, and the database follows. Everything is decided in
 * memory; changes are written in one transaction every FLUSH_INTERVAL, when the store closes, and never in between, so a
 * kill loses at most that much learning. A state that changes is told at once; new entries, of which there may be many,
 * with the next flush (nothing is judged by a model that learns), but for those on their way when it ceased to.
 *
 * Length: all ways into the one map of models, and the one order in which they are told and written.
 */
import type { Clock } from "../clock.ts";
import { TidesmanError } from "../errors.ts";
import type { ContainerFacts, Finding, ModelState, ModelView, Observation, Reason } from "../policy/types.ts";
import { isDamage, ModelDatabase } from "./database.ts";
import {
  type DestinationEntry,
  Model,
  type ModelChanges,
  type ModelSnapshot,
  modelKey,
  type NameEntry,
  type PortEntry,
} from "./model.ts";
import { exportModel, importEntries, type ModelFile } from "./transfer.ts";
import { type Trust, trustOf } from "./trust.ts";
import { type MutableModelView, openModel } from "./view.ts";

/** Milliseconds between writes; also how often run time is added up. */
export const FLUSH_INTERVAL = 1000;
/**
 * Run time that one step adds at most, milliseconds: a process that was stopped meanwhile saw nothing of it. Steps are a second
 * apart.
 */
const MOST_RUN_TIME = 30_000;
/** Keys that are named where a text fits several. */
const MAX_TOLD = 4;
/** A clock that moved by more than this against the monotonic one was set; milliseconds. */
const CLOCK_SET = 1000;
/** How far back the ports that a scanning container taught are put down to its scan; milliseconds. */
const SCAN_TIME = 60 * 60 * 1000;
/** How long a finding that deviates from a model with a predecessor is put down to the update; milliseconds. */
export const UPDATE_TIME = 7 * 24 * 60 * 60 * 1000;
/** New entries after an update that are told of one model; the others are to be seen in a `diff`. */
const MAX_NEWS = 50;

export interface ModelStoreOptions {
  /** Database; made with its folder when it is not there. */
  readonly file: string;
  readonly clock: Clock;
  /** Container run time after which a model becomes active; milliseconds. */
  readonly learningTime: number;
  /** How long an active model is on trial; milliseconds, 0 (which it is when left out): not at all. */
  readonly trialTime?: number;
  /** A model is new, changed its state, or gained entries. */
  readonly onChange: (snapshot: ModelSnapshot) => void;
  /** The model of that key was archived for long enough, and is no more. */
  readonly onRemove?: (key: string) => void;
  /**
   * A model that learns, of an image that was updated lately, took in what its predecessor did not know, which had learned to
   * its end. At most MAX_NEWS times for a model.
   */
  readonly onNews?: (observation: Observation) => void;
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
  readonly listeningPorts: number;
  readonly internalDestinations: number;
  readonly locked: boolean;
  /** Until when an active model is on trial; null: it is not. */
  readonly trialUntil: number | null;
  /** Key of the model it began with. */
  readonly predecessor: string | null;
  /** New entries per hour of run time, lately; null: too little ran to tell. */
  readonly saturation: number | null;
  readonly trust: Trust;
  /** Entries not taken because the model was full. */
  readonly dropped: number;
  readonly createdAt: number;
  readonly changedAt: number;
}

export interface ModelDetail extends ModelSummary {
  readonly entries: {
    readonly names: readonly NameEntry[];
    readonly outboundPorts: readonly PortEntry[];
    readonly listeningPorts: readonly PortEntry[];
    readonly internalDestinations: readonly DestinationEntry[];
  };
}

/** What an operator may have done to a model. Times in milliseconds. */
export type ModelChange =
  | { readonly action: "relearn"; readonly afresh: boolean }
  | { readonly action: "extend"; readonly time: number }
  | { readonly action: "manual" | "stop" | "lock" | "unlock" }
  | { readonly action: "forget" | "expand"; readonly entry: string };

export class ModelStore {
  readonly #options: ModelStoreOptions;
  readonly #database: ModelDatabase;
  readonly #models = new Map<string, Model>();
  /** Containers of each model that run now. */
  #running = new Map<string, number>();
  /** `clock.monotonic` up to which run time was added. */
  #addedUpTo: number;
  /** `clock.now` less `clock.monotonic`. */
  #offset: number;
  readonly #removals = new Set<string>();
  /** By key: how much of what is new since an update was told. */
  readonly #news = new Map<string, number>();
  /** Models with entries that were not told yet. */
  readonly #grown = new Set<Model>();
  /** What was taken out of which models since the latest tick: findings come by the thousand. */
  readonly #withdrawn = new Set<string>();
  readonly #timer: { cancel(): void };
  #failing = false;
  readonly #views = new Map<string, { version: number; readonly view: MutableModelView }>();

  /** Throws TM_STORE when nothing can be written to the file, or when a newer version wrote it. */
  constructor(options: ModelStoreOptions) {
    this.#options = options;
    const { file, clock, trialTime = 0, onNotice } = options;
    this.#database = new ModelDatabase(file, clock, onNotice);
    for (const model of this.#database.load()) {
      model.watchAgain(clock.now(), trialTime);
      this.#models.set(model.key, model);
    }
    this.#addedUpTo = clock.monotonic();
    this.#offset = clock.now() - this.#addedUpTo;
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

  /** The model of that key as decisions see it, as it stands; the same object as long as the model lives. */
  view(key: string): ModelView | null {
    const model = this.#models.get(key);
    if (model === undefined) return null;
    const known = this.#views.get(key);
    if (known === undefined) {
      const view = openModel(model.snapshot());
      this.#views.set(key, { version: model.version, view });
      return view;
    }
    if (known.version !== model.version) known.view.replace(model.snapshot());
    known.version = model.version;
    return known.view;
  }

  /**
   * What an audit should say besides when a container deviates from its model soon after its image was updated: it may be
   * the update that does it. Null otherwise.
   */
  updateReason(reasons: readonly Reason[], container: ContainerFacts): Reason | null {
    if (!reasons.some(({ kind, match }) => kind === "model" && match === "none")) return null;
    const record = this.#models.get(modelKey(container) ?? "")?.record;
    if (record === undefined || record.predecessor === null) return null;
    if (this.#options.clock.now() - record.createdAt >= UPDATE_TIME) return null;
    const { predecessor, state } = record;
    return { kind: "model", state, message: `new since image update from ${predecessor}` };
  }

  /**
   * Many lookups or connections together show what no single one does: data sent in names, or a scan. What a learning model
   * took in of it before that was seen is taken out again, as never to be learned. What the container used of right is soon
   * learned anew. Returns what its audit should say besides, or null.
   */
  withdraw(finding: Finding, container: ContainerFacts): Reason | null {
    const model = this.#models.get(modelKey(container) ?? "");
    if (model === undefined || !model.learning) return null;
    const domain = finding.reasons.find(({ kind }) => kind === "detection")?.subject;
    const isNames = finding.attackType === "suspiciousDNS" && domain !== undefined;
    const what = isNames ? domain : finding.type === "portScan" ? container.id : null;
    if (what === null || this.#withdrawn.has(`${model.key} ${what}`)) return null;
    this.#withdrawn.add(`${model.key} ${what}`);
    const count = isNames ? model.withdrawNames(what) : model.withdrawPorts(what, finding.time - SCAN_TIME);
    if (count === 0) return null;
    this.#grown.add(model);
    const entries = count === 1 ? "1 entry" : `${count} entries`;
    return { kind: "model", state: model.record.state, message: `${entries} learned of it withdrawn` };
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
    const late = new Set<Model>();
    for (const observation of batch) {
      const model = this.#models.get(observation.model);
      if (model === undefined) continue;
      const before = model.record.state;
      if (model.observe(observation) === "new") {
        this.#grown.add(model);
        if (!model.learning) late.add(model);
        else this.#tellNews(model, observation);
      }
      if (model.record.state !== before) this.#tell(model);
    }
    for (const model of late) this.#tell(model);
  }

  #tellNews(model: Model, observation: Observation): void {
    const { clock, onNews } = this.#options;
    const { key, state, predecessor, createdAt } = model.record;
    if (onNews === undefined || state !== "learning" || predecessor === null) return;
    if (clock.now() - createdAt >= UPDATE_TIME) return;
    if ((this.#models.get(predecessor)?.record.activeSince ?? null) === null) return;
    const told = this.#news.get(key) ?? 0;
    if (told >= MAX_NEWS) return;
    this.#news.set(key, told + 1);
    onNews(observation);
  }

  /** By image, then key. */
  list(): ModelSummary[] {
    this.#addRunTime();
    return Array.from(this.#models.values(), (model) => this.#summary(model)).sort((a, b) => {
      return a.image < b.image ? -1 : a.image > b.image ? 1 : a.key < b.key ? -1 : 1;
    });
  }

  /**
   * One model with its entries: by key, by the beginning of a digest (with or without `sha256:`, and with `@namespace`
   * behind it or not), or by image name (`nginx` is `docker.io/library/nginx` with any tag; the latest changed that is in
   * use wins). Throws TM_USAGE for the beginning of several digests.
   */
  show(wanted: string): ModelDetail | undefined {
    this.#addRunTime();
    const model = this.#find(wanted);
    if (model === undefined) return undefined;
    const names = [...model.names].sort((a, b) => (a.name < b.name ? -1 : 1));
    const byPort = (a: PortEntry, b: PortEntry): number => a.protocol - b.protocol || a.port - b.port;
    const outboundPorts = [...model.ports].sort(byPort);
    const listeningPorts = [...model.listening].sort(byPort);
    const internalDestinations = [...model.destinations].sort(
      (a, b) => (a.subnet < b.subnet ? -1 : a.subnet > b.subnet ? 1 : 0) || byPort(a, b),
    );
    const entries = { names, outboundPorts, listeningPorts, internalDestinations };
    return { ...this.#summary(model), entries };
  }

  /**
   * Does what an operator wants done to the model that `show` would show. Undefined: there is none. Throws TM_USAGE for a
   * locked model and for an entry that cannot be expanded, and TM_NOT_FOUND for an entry that it does not hold.
   */
  change(wanted: string, change: ModelChange): ModelSummary | undefined {
    this.#addRunTime();
    const model = this.#find(wanted);
    if (model === undefined) return undefined;
    const now = this.#options.clock.now();
    const { locked } = model.record;
    if (locked && change.action !== "lock" && change.action !== "unlock") {
      throw new TidesmanError("TM_USAGE", `model \`${model.key}\` is locked; unlock it first`);
    }
    switch (change.action) {
      case "relearn":
        model.relearn(now, change.afresh);
        break;
      case "extend":
        model.extend(change.time, this.#options.learningTime, now);
        break;
      case "manual":
        model.manual(now);
        break;
      case "stop":
        model.stop(now);
        break;
      case "lock":
        model.lock(now);
        break;
      case "unlock":
        model.unlock();
        break;
      case "forget":
      case "expand":
        changeEntry(model, change.action, change.entry);
    }
    if (!this.#running.has(model.key)) model.unused(now);
    this.#tell(model);
    this.#flush();
    return this.#summary(model);
  }

  /** The model that `show` would show, as a file. */
  export(wanted: string): ModelFile | undefined {
    const model = this.#find(wanted);
    return model === undefined ? undefined : exportModel(model, this.#options.clock.now());
  }

  /**
   * Puts a model from a file in the place of the one with its key, and locks it: it judges at once, and is kept while
   * nothing runs its image. Throws TM_USAGE when the file holds what is never learned, or that model is locked.
   */
  import(file: ModelFile): ModelSummary {
    const entries = importEntries(file);
    const now = this.#options.clock.now();
    let model = this.#models.get(file.key);
    if (model?.record.locked === true) {
      throw new TidesmanError("TM_USAGE", `model \`${model.key}\` is locked; unlock it first`);
    }
    if (model === undefined) {
      model = Model.begin(file.key, file.image, now);
      this.#models.set(file.key, model);
    } else model.relearn(now, true);
    model.take(entries);
    model.lock(now);
    this.#tell(model);
    this.#flush();
    return this.#summary(model);
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
    const predecessor = this.#predecessor(key, image);
    if (predecessor !== undefined) model.inherit(predecessor);
    this.#models.set(key, model);
    this.#tell(model);
  }

  /** The model of the same repository and namespace that learned to its end, or else learned, most recently. */
  #predecessor(key: string, image: string): Model | undefined {
    const repository = repositoryOf(image);
    // A runtime that knows no name of an image tells its digest.
    if (repository === "" || image.startsWith("sha256:")) return undefined;
    const namespace = namespaceOf(key);
    const rank = ({ record }: Model): number => (record.activeSince === null ? 0 : 1);
    let best: Model | undefined;
    for (const model of this.#models.values()) {
      if (repositoryOf(model.record.image) !== repository || namespaceOf(model.key) !== namespace) continue;
      const ahead = best && (rank(model) - rank(best) || model.record.changedAt - best.record.changedAt);
      if (ahead === undefined || ahead > 0) best = model;
    }
    return best;
  }

  /** Gives the time since the last call to the models of the containers that ran meanwhile. */
  #addRunTime(): void {
    const { clock, learningTime, trialTime = 0 } = this.#options;
    const upTo = clock.monotonic();
    const elapsed = Math.min(upTo - this.#addedUpTo, MOST_RUN_TIME);
    this.#addedUpTo = upTo;
    const offset = clock.now() - upTo;
    if (Math.abs(offset - this.#offset) > CLOCK_SET) {
      for (const model of this.#models.values()) model.clockSet(offset - this.#offset);
      this.#offset = offset;
    }
    for (const [key, containers] of this.#running) {
      const model = this.#models.get(key);
      if (model?.ran(elapsed * containers, learningTime, clock.now(), trialTime)) this.#tell(model);
    }
  }

  #tick(): void {
    this.#addRunTime();
    const now = this.#options.clock.now();
    for (const [key, model] of this.#models) {
      if (model.tried(now)) this.#tell(model);
      if (!model.isOutlived(now)) continue;
      this.#views.delete(key);
      this.#news.delete(key);
      this.#models.delete(key);
      this.#grown.delete(model);
      this.#removals.add(key);
      this.#options.onRemove?.(key);
    }
    for (const model of this.#grown) this.#tell(model);
    this.#withdrawn.clear();
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
    // A model that was removed and began again since is written anew after its removal.
    this.#database.write(changes, this.#removals);
    for (const model of changed) model.saved();
    this.#removals.clear();
  }

  #summary(model: Model): ModelSummary {
    const { key, image, state, learnedTime, dropped, createdAt, changedAt } = model.record;
    const { locked, trialUntil, predecessor, extension } = model.record;
    const learningTime = this.#options.learningTime + extension;
    return {
      key,
      image,
      state,
      locked,
      learnedTime,
      learningTime,
      trialUntil,
      predecessor,
      saturation: model.saturation,
      trust: trustOf(model, learningTime),
      containers: this.#running.get(key) ?? 0,
      names: model.nameCount,
      outboundPorts: model.portCount,
      listeningPorts: model.listeningCount,
      internalDestinations: model.destinationCount,
      dropped,
      createdAt,
      changedAt,
    };
  }

  /** Throws TM_USAGE for the beginning of several digests. */
  #find(wanted: string): Model | undefined {
    const exact = this.#models.get(wanted);
    if (exact !== undefined) return exact;
    const models = [...this.#models.values()];
    let several: readonly Model[] = [];
    const [, digest, namespace] = /^(?:sha256:)?([0-9a-f]{6,})(?:@(.+))?$/.exec(wanted) ?? [];
    if (digest !== undefined) {
      const found = models.filter(
        ({ key }) =>
          key.replace(/^sha256:/, "").startsWith(digest) &&
          (namespace === undefined || namespaceOf(key) === namespace),
      );
      if (found.length === 1) return found[0];
      several = found;
    }
    const [first] = models
      .filter(({ record }) => namesImage(record.image, wanted))
      .sort((a, b) => {
        const archived = Number(a.record.state === "archived") - Number(b.record.state === "archived");
        return archived || b.record.changedAt - a.record.changedAt;
      });
    if (first !== undefined || several.length === 0) return first;
    const keys = several.slice(0, MAX_TOLD).map(({ key }) => `\`${key}\``);
    const more = several.length > MAX_TOLD ? ` and ${several.length - MAX_TOLD} more` : "";
    throw new TidesmanError(
      "TM_USAGE",
      `\`${wanted}\` fits several models: ${keys.join(", ")}${more}; write more of the key`,
    );
  }
}

/** Throws TM_NOT_FOUND when there is no such entry, TM_USAGE when it stands for no names. */
function changeEntry(model: Model, action: "forget" | "expand", text: string): void {
  const entry = text
    .trim()
    .toLowerCase()
    .replace(/(?<=[^.])\.$/, "");
  if (action === "forget" ? model.forget(entry) : model.expand(entry)) return;
  const covering = model.covering(entry);
  if (action === "expand" && covering === entry) {
    const why = entry.startsWith("*.")
      ? `of the names behind \`${entry}\` none is known; forget it instead`
      : `\`${entry}\` is no wildcard`;
    throw new TidesmanError("TM_USAGE", why);
  }
  const hint =
    covering === null || covering === entry
      ? ""
      : `; \`${covering}\` covers it: expand that, and then forget this`;
  throw new TidesmanError("TM_NOT_FOUND", `model \`${model.key}\` holds no \`${entry}\`${hint}`);
}

/** Whether `wanted` is the image (`docker.io/library/nginx:1.27`), perhaps without registry, folder and tag. */
function namesImage(image: string, wanted: string): boolean {
  const short = image.replace(/^docker\.io\/(?:library\/)?/, "");
  return [image, short].some((name) => name === wanted || name.replace(/:[^/:]*$/, "") === wanted);
}

/** The image name without tag and digest. */
function repositoryOf(image: string): string {
  return image.replace(/@.*$/, "").replace(/:[^/:]*$/, "");
}

function namespaceOf(key: string): string {
  return key.split("@")[1] ?? "";
}
