/**
 * The exemptions there are: who gave which container what, and until when (what they mean stands in policy/exemption.ts). What is
 * given or withdrawn is on the disk, and then in force, when the call returns; where the disk fails nothing was changed.
 *
 * They end by the wall clock, so that the daemon may be stopped meanwhile. As long as it runs they also end by the monotonic
 * one: a clock that is set back gives nobody more time.
 */
import type { Clock } from "./clock.ts";
import type { ExemptionRequest } from "./control/types.ts";
import { TidesmanError } from "./errors.ts";
import type { Log } from "./log.ts";
import { type Exemption, Exemptions, parseExempt } from "./policy/exemption.ts";
import { coveredSuffix } from "./policy/public-suffixes.ts";
import { WholeFile } from "./whole-file.ts";

/** Milliseconds of the longest; what is needed for longer is for a rule to say. */
export const LONGEST_EXEMPTION = 7 * 86_400_000;
const PER_CONTAINER = 32;
const IN_ALL = 1_000;
/** Milliseconds between looks for those whose time is over. */
const LOOK_EVERY = 1_000;

export interface GivenExemption extends Exemption {
  readonly container: { readonly id: string; readonly name: string };
  /** When it was given, milliseconds since the epoch. */
  readonly since: number;
  /** Who gave it, as the caller said. */
  readonly by: string | null;
  readonly note: string | null;
}

export interface GivenExemptionsOptions {
  /** Usually `exemptions.json` in the state folder. */
  readonly file: string;
  readonly clock: Clock;
  readonly log: Pick<Log, "info" | "warn" | "error">;
  /** Puts all that the container has now in force; resolves when decisions follow it. */
  readonly apply: (container: string, exemptions: readonly Exemption[]) => Promise<void>;
}

interface State {
  readonly exemptions: readonly GivenExemption[];
}

export class GivenExemptions {
  readonly #options: GivenExemptionsOptions;
  readonly #file: WholeFile<State>;
  readonly #looking: { cancel(): void };
  #given: readonly GivenExemption[];
  /** When each is over at the latest, by the monotonic clock. */
  readonly #due = new WeakMap<GivenExemption, number>();
  readonly #compiled = new Map<string, Exemptions>();
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(options: GivenExemptionsOptions, file: WholeFile<State>, { exemptions }: State) {
    this.#options = options;
    this.#file = file;
    const { clock } = options;
    this.#given = exemptions;
    for (const one of exemptions) this.#watch(one, one.until - clock.now());
    this.#looking = clock.every(LOOK_EVERY, () => this.#look());
  }

  /** Reads those that are left. Throws TM_STORE when the file cannot be read. */
  static async open(options: GivenExemptionsOptions): Promise<GivenExemptions> {
    const file = new WholeFile<State>(options.file, { version: 1, empty: { exemptions: [] }, decode });
    const state = await file.read((message) => options.log.error({}, message));
    return new GivenExemptions(options, file, state);
  }

  /** Puts those that were read in force; to be called before the containers are known. */
  async start(): Promise<void> {
    const ids = new Set(this.list().map(({ container }) => container.id));
    await Promise.all([...ids].map((id) => this.#apply(id)));
  }

  stop(): void {
    this.#looking.cancel();
  }

  /** Those in force, in the order in which they end. */
  list(): readonly GivenExemption[] {
    return this.#given.filter((one) => !this.#isOver(one)).sort((a, b) => a.until - b.until);
  }

  /** What decisions about the container take account of; null: nothing. The same object until that changes. */
  of(id: string): Exemptions | null {
    const exemptions = this.list().filter(({ container }) => container.id === id);
    if (exemptions.length === 0) return null;
    let compiled = this.#compiled.get(id);
    if (compiled === undefined) {
      compiled = new Exemptions(exemptions);
      this.#compiled.set(id, compiled);
    }
    return compiled;
  }

  /**
   * Takes the place of one that the container has of the same target. Throws TM_USAGE for a target that is none, a time that
   * is too long, a wildcard over a public suffix (unless forced) and where there are too many; TM_STORE.
   */
  give(container: GivenExemption["container"], request: ExemptionRequest): Promise<GivenExemption> {
    const { entry } = checked(request);
    return this.#inTurn(async () => {
      const { id, name } = container;
      const others = this.list().filter((one) => !(one.container.id === id && one.entry === entry));
      if (others.filter((one) => one.container.id === id).length >= PER_CONTAINER)
        throw tooMany(`container \`${name}\` has ${PER_CONTAINER} exemptions`);
      if (others.length >= IN_ALL) throw tooMany(`there are ${IN_ALL} exemptions`);
      const since = this.#options.clock.now();
      const { by, note, time } = request;
      const given = { container: { id, name }, entry, since, until: since + time, by, note };
      this.#watch(given, time);
      await this.#change([...others, given], [id]);
      return given;
    });
  }

  /** Ends them before their time: one, or (null) all of the container. Throws TM_NOT_FOUND when there is none, TM_STORE. */
  withdraw(
    container: GivenExemption["container"],
    target: string | null,
  ): Promise<readonly GivenExemption[]> {
    const parsed = target === null ? null : parseExempt(target);
    const entry = parsed === null || typeof parsed === "string" ? target : parsed.entry;
    return this.#inTurn(async () => {
      const { id, name } = container;
      const all = this.list();
      const ended = all.filter((one) => one.container.id === id && (entry === null || one.entry === entry));
      if (ended.length === 0) {
        const of = target === null ? "" : ` of \`${target}\``;
        const hint = "`tidesman allow --list` shows those there are";
        throw new TidesmanError("TM_NOT_FOUND", `container \`${name}\` has no exemption${of}; ${hint}`);
      }
      await this.#change(
        all.filter((one) => !ended.includes(one)),
        [id],
      );
      return ended;
    });
  }

  /** Containers that are no more take theirs along. */
  gone(ids: readonly string[]): void {
    const ended = this.#given.filter(({ container }) => ids.includes(container.id));
    if (ended.length > 0) this.#end(ended, "its container is gone");
  }

  #look(): void {
    const over = this.#given.filter((one) => this.#isOver(one));
    if (over.length > 0) this.#end(over, "its time is over");
  }

  /** In force no more from now on; that the file still has them does no harm, since they are over. */
  #end(ended: readonly GivenExemption[], why: string): void {
    const { log } = this.#options;
    this.#given = this.#given.filter((one) => !ended.includes(one));
    for (const { container, entry } of ended)
      log.info({ container: container.name }, `exemption of \`${entry}\` ended: ${why}`);
    const ids = [...new Set(ended.map(({ container }) => container.id))];
    void this.#inTurn(async () => {
      for (const id of ids) await this.#apply(id);
      await this.#file.write({ exemptions: this.#given });
    }).catch((error: unknown) => log.error({ error }, "exemptions that ended could not be taken out"));
  }

  async #change(given: readonly GivenExemption[], ids: readonly string[]): Promise<void> {
    await this.#file.write({ exemptions: given });
    this.#given = given;
    for (const id of ids) await this.#apply(id);
  }

  async #apply(id: string): Promise<void> {
    this.#compiled.delete(id);
    const own = this.list().filter(({ container }) => container.id === id);
    await this.#options.apply(
      id,
      own.map(({ entry, until }) => ({ entry, until })),
    );
  }

  #watch(one: GivenExemption, left: number): void {
    this.#due.set(one, this.#options.clock.monotonic() + left);
  }

  #isOver(one: GivenExemption): boolean {
    const { clock } = this.#options;
    return clock.now() >= one.until || clock.monotonic() >= (this.#due.get(one) ?? 0);
  }

  #inTurn<Result>(task: () => Promise<Result>): Promise<Result> {
    const result = this.#turn.then(task);
    this.#turn = result.catch(() => undefined);
    return result;
  }
}

function checked({ target, time, force }: ExemptionRequest): { readonly entry: string } {
  const parsed = parseExempt(target);
  if (typeof parsed === "string") throw new TidesmanError("TM_USAGE", `\`${target}\` ${parsed}`);
  if (!(time > 0 && time <= LONGEST_EXEMPTION)) {
    const most = LONGEST_EXEMPTION / 86_400_000;
    throw new TidesmanError("TM_USAGE", `an exemption lasts ${most} days at most; a rule lasts for longer`);
  }
  const suffix = parsed.kind === "name" && !force ? coveredSuffix(parsed.pattern) : null;
  if (suffix === null) return parsed;
  const what = suffix === "*" ? "every name" : `all below \`${suffix}\`, where anybody can register names`;
  throw new TidesmanError("TM_USAGE", `\`${target}\` lets it reach ${what}; say --force if you mean that`);
}

function tooMany(message: string): TidesmanError {
  return new TidesmanError("TM_USAGE", `${message}; withdraw some, or write a rule`);
}

function decode({ exemptions }: Readonly<Record<string, unknown>>): State | null {
  if (!Array.isArray(exemptions) || !exemptions.every(isGiven)) return null;
  return { exemptions };
}

function isGiven(value: unknown): value is GivenExemption {
  const one = value as Partial<GivenExemption> | null;
  return (
    typeof one?.container?.id === "string" &&
    typeof one.container.name === "string" &&
    typeof one.entry === "string" &&
    typeof parseExempt(one.entry) !== "string" &&
    Number.isFinite(one.since) &&
    Number.isFinite(one.until) &&
    (one.by === null || typeof one.by === "string") &&
    (one.note === null || typeof one.note === "string")
  );
}
