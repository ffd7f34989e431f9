/**
 * Network namespaces as files: where runtimes keep them, and which of them are the same. A namespace is named by its
 * inode, since one may be reached by several paths (`/var/run/docker/netns/x`, `/proc/1/ns/net`).
 */
import { readdirSync, realpathSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { systemCode } from "../errors.ts";

export class Namespaces {
  readonly #directories: Set<string>;
  readonly #own: string;

  /** `directories`: where to look from the start; more are learned from the paths that the engine names. */
  constructor(directories: readonly string[]) {
    this.#directories = new Set(directories);
    this.#own = this.identity("/proc/self/ns/net");
  }

  /** Names the namespace behind a path; empty when there is none, or when it is the one we live in. */
  identity(path: string): string {
    try {
      const { dev, ino } = statSync(path);
      const identity = `${dev}:${ino}`;
      return identity === this.#own ? "" : identity;
    } catch {
      // Gone with its container, or not visible to us: either way it names nothing.
      return "";
    }
  }

  /** The engine said that a container's namespace is at `path`: its neighbours are namespaces too. */
  learn(path: string): void {
    try {
      this.#directories.add(realpathSync(dirname(path)));
    } catch (error) {
      if (systemCode(error) === "") throw error;
    }
  }

  /** Paths of the namespaces in the known directories whose identity is not in `known`. */
  others(known: ReadonlySet<string>): string[] {
    const paths: string[] = [];
    for (const directory of this.#directories) {
      let names: string[];
      try {
        names = readdirSync(directory);
      } catch (error) {
        if (systemCode(error) === "") throw error;
        continue;
      }
      for (const name of names) {
        // Docker's own: the host's namespace, and those of swarm's load balancers.
        if (name === "default" || name.startsWith("lb_") || name === "ingress_sbox") continue;
        const path = join(directory, name);
        const identity = this.identity(path);
        if (identity !== "" && !known.has(identity)) paths.push(path);
      }
    }
    return paths;
  }
}
