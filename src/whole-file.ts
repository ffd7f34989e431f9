/**
 * A small list that has to outlive the daemon, in a file of its own: JSON, written whole to a new file, synced, and renamed over
 * the old one, so that a crash leaves either the old list or the new.
 */
import { open, readFile, rename } from "node:fs/promises";
import { dirname } from "node:path";
import { systemCode, TidesmanError } from "./errors.ts";

/** How the list looks in its file. */
export interface WholeFileForm<State> {
  /** Stands in the file beside it. */
  readonly version: number;
  readonly empty: State;
  /** Null for what it cannot understand. May throw a TypeError for such. */
  readonly decode: (value: Readonly<Record<string, unknown>>) => State | null;
}

export class WholeFile<State extends object> {
  readonly #path: string;
  readonly #form: WholeFileForm<State>;
  #writing: Promise<void> = Promise.resolve();

  constructor(path: string, form: WholeFileForm<State>) {
    this.#path = path;
    this.#form = form;
  }

  /**
   * Empty when there is no file. One that cannot be understood is set aside (`.unreadable` behind its name) and reported
   * by `onUnreadable`, since a daemon that does not start protects nobody. Throws TM_STORE when it cannot be read.
   */
  async read(onUnreadable: (message: string) => void): Promise<State> {
    let text: string;
    try {
      text = await readFile(this.#path, "utf8");
    } catch (error) {
      if (systemCode(error) === "ENOENT") return this.#form.empty;
      throw this.#failed("read", error);
    }
    const state = this.#decode(text);
    if (state !== null) return state;
    const aside = `${this.#path}.unreadable`;
    await rename(this.#path, aside);
    onUnreadable(`\`${this.#path}\` cannot be understood and was set aside as \`${aside}\``);
    return this.#form.empty;
  }

  /** Resolves once it is on the disk. Calls are carried out one after the other. Throws TM_STORE. */
  write(state: State): Promise<void> {
    const text = `${JSON.stringify({ version: this.#form.version, ...state }, null, 2)}\n`;
    const written = this.#writing.then(() => this.#replace(text));
    this.#writing = written.catch(() => undefined);
    return written;
  }

  #decode(text: string): State | null {
    try {
      const value = JSON.parse(text) as Record<string, unknown>;
      return value.version === this.#form.version ? this.#form.decode(value) : null;
    } catch (error) {
      if (error instanceof SyntaxError || error instanceof TypeError) return null;
      throw error;
    }
  }

  async #replace(text: string): Promise<void> {
    try {
      const temporary = `${this.#path}.new`;
      const file = await open(temporary, "w", 0o600);
      try {
        await file.writeFile(text);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(temporary, this.#path);
      const directory = await open(dirname(this.#path), "r");
      try {
        await directory.sync();
      } finally {
        await directory.close();
      }
    } catch (error) {
      throw this.#failed("write", error);
    }
  }

  #failed(verb: "read" | "write", error: unknown): TidesmanError {
    return new TidesmanError("TM_STORE", `cannot ${verb} \`${this.#path}\`: ${systemCode(error)}`, {
      cause: error,
    });
  }
}
