/**
 * Evidence on the disk: one file for each block, `evidence/ID.json` in the state directory, for root alone, since command
 * lines may hold secrets. The newest hundred are kept.
 */
import { mkdir, open, readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { systemCode, TidesmanError } from "../errors.ts";
import type { AttackType, ContainerFacts, Effect } from "../policy/types.ts";
import type { EvidenceSubject } from "./block.ts";
import type { Evidence } from "./evidence.ts";

/** What is listed. */
export interface EvidenceSummary extends EvidenceSubject {
  /** Its time and the beginning of the container's id; in the order of time. */
  readonly id: string;
  /** ISO 8601 with milliseconds, UTC. */
  readonly time: string;
  readonly container: ContainerFacts;
}

/** What the container was seen doing before; as the flight recorder of incidents has it. */
export interface RecordedEvent {
  readonly time: string;
  readonly attackType: AttackType | null;
  readonly effect: Exclude<Effect, "disable"> | null;
  readonly message: string;
  readonly audit: string | null;
}

export interface EvidenceRecord extends EvidenceSummary, Evidence {
  readonly recorder: readonly RecordedEvent[];
}

const KEPT = 100;
const NAME = /^(\d{8}T\d{9}Z-[0-9a-zA-Z]{1,12})\.json$/;

export class EvidenceStore {
  readonly #directory: string;
  readonly #onNotice: (message: string) => void;
  readonly #summaries = new Map<string, EvidenceSummary>();

  constructor(options: { readonly directory: string; readonly onNotice: (message: string) => void }) {
    this.#directory = options.directory;
    this.#onNotice = options.onNotice;
  }

  /** Throws TM_STORE. */
  async save(record: Omit<EvidenceRecord, "id">): Promise<string> {
    const id = `${record.time.replace(/[-:.]/g, "")}-${record.container.id.slice(0, 12)}`;
    try {
      await this.#makeDirectory();
      const temporary = join(this.#directory, `${id}.new`);
      const file = await open(temporary, "w", 0o600);
      try {
        await file.writeFile(`${JSON.stringify({ id, ...record }, null, 1)}\n`);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(temporary, join(this.#directory, `${id}.json`));
      for (const old of (await this.#ids()).slice(KEPT)) await this.#remove(old);
    } catch (error) {
      throw this.#failure("written", error);
    }
    return id;
  }

  /** The latest first. Throws TM_STORE. */
  async list(): Promise<readonly EvidenceSummary[]> {
    const listed: EvidenceSummary[] = [];
    for (const id of await this.#ids()) {
      const summary = this.#summaries.get(id) ?? (await this.#read(id));
      if (summary === null) continue;
      const { time, container, reason, action, result } = summary;
      const kept = { id, time, container, reason, action, result };
      this.#summaries.set(id, kept);
      listed.push(kept);
    }
    return listed;
  }

  /**
   * By its identifier or the beginning of it, or the latest of a container, by name, id, or beginning of an id. Throws
   * TM_NOT_FOUND, TM_STORE.
   */
  async find(wanted: string): Promise<EvidenceRecord> {
    const all = await this.list();
    const found =
      all.find(({ id, container }) => [id, container.id, container.name].includes(wanted)) ??
      (wanted === ""
        ? undefined
        : all.find(({ id, container }) => id.startsWith(wanted) || container.id.startsWith(wanted)));
    const record = found === undefined ? null : await this.#read(found.id);
    if (record !== null) return record;
    throw new TidesmanError(
      "TM_NOT_FOUND",
      `there is no evidence of \`${wanted}\`; \`tidesman evidence\` lists what there is`,
    );
  }

  /** The latest first. */
  async #ids(): Promise<readonly string[]> {
    try {
      const names = await readdir(this.#directory);
      return names
        .flatMap((name) => NAME.exec(name)?.[1] ?? [])
        .sort()
        .reverse();
    } catch (error) {
      if (systemCode(error) === "ENOENT") return [];
      throw this.#failure("read", error);
    }
  }

  /** Null for a file that is gone or cannot be understood. */
  async #read(id: string): Promise<EvidenceRecord | null> {
    try {
      return JSON.parse(await readFile(join(this.#directory, `${id}.json`), "utf8")) as EvidenceRecord;
    } catch (error) {
      if (systemCode(error) === "ENOENT") return null;
      if (systemCode(error) !== "") throw this.#failure("read", error);
      this.#onNotice(`evidence \`${id}\` cannot be understood`);
      return null;
    }
  }

  async #makeDirectory(): Promise<void> {
    try {
      await mkdir(this.#directory, { mode: 0o700 });
    } catch (error) {
      if (systemCode(error) !== "EEXIST") throw error;
    }
  }

  async #remove(id: string): Promise<void> {
    this.#summaries.delete(id);
    await rm(join(this.#directory, `${id}.json`), { force: true });
  }

  #failure(what: string, cause: unknown): TidesmanError {
    if (cause instanceof TidesmanError) return cause;
    return new TidesmanError(
      "TM_STORE",
      `evidence in \`${this.#directory}\` cannot be ${what}: ${systemCode(cause) || String(cause)}`,
      { cause },
    );
  }
}
