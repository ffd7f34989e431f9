/** A registry on a fake engine, with everything that it told. */
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Clock, systemClock } from "../../src/clock.ts";
import { DockerClient } from "../../src/container/docker.ts";
import { Registry, type RegistryOptions } from "../../src/container/registry.ts";
import type { Container, RegistryChange, RegistryState } from "../../src/container/types.ts";
import { normalizeImage } from "../../src/policy/rules.ts";
import { FakeDocker } from "./fake-docker.ts";

export interface World extends AsyncDisposable {
  readonly docker: FakeDocker;
  readonly client: DockerClient;
  readonly registry: Registry;
  readonly changes: RegistryChange[];
  readonly states: RegistryState[];
  /** The listener's view: what is present after all changes. */
  readonly present: Map<string, Container>;
  /** Called with every change, after it was taken in. */
  onChange: (change: RegistryChange) => void;
}

export const silent = { debug() {}, info() {}, warn() {}, error() {} };

/** A fake engine that listens, in a directory of its own. */
export async function listeningDocker(): Promise<FakeDocker> {
  const docker = new FakeDocker(mkdtempSync(join(tmpdir(), "tm-ctr-")));
  await docker.listen();
  return docker;
}

/** Starts a registry on a fake engine. `docker`: one that was prepared, listening or not. */
export async function world(
  options: { docker?: FakeDocker; clock?: Clock; isBlocked?: RegistryOptions["isBlocked"] } = {},
): Promise<World> {
  const docker = options.docker ?? (await listeningDocker());
  const clock = options.clock ?? systemClock;
  const client = new DockerClient({ socket: docker.socket, clock });
  const changes: RegistryChange[] = [];
  const states: RegistryState[] = [];
  const present = new Map<string, Container>();
  const registry = new Registry({
    docker: client,
    native: docker.native,
    clock,
    normalizeImage,
    onChange(change) {
      changes.push(change);
      for (const id of change.remove) present.delete(id);
      for (const container of change.upsert) present.set(container.id, container);
      made.onChange(change);
    },
    onState: (state) => states.push(state),
    log: silent,
    namespaceDirectories: [docker.namespaceDirectory],
    ...(options.isBlocked === undefined ? {} : { isBlocked: options.isBlocked }),
  });
  const made: World = {
    docker,
    client,
    registry,
    changes,
    states,
    present,
    onChange() {},
    async [Symbol.asyncDispose]() {
      await registry.stop();
      await client.close();
      await docker.close();
      docker[Symbol.dispose]();
    },
  };
  registry.start();
  return made;
}

/** Resolves when `condition` holds; throws `what` when it does not within `deadline` milliseconds. */
export async function until(condition: () => boolean, what: string, deadline = 10_000): Promise<void> {
  const end = performance.now() + deadline;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`never came true: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** Whether the listener's view is what the engine has. */
export function agrees({ docker, present }: World): boolean {
  const expected = docker.expected();
  if (present.size !== expected.size) return false;
  for (const [id, wanted] of expected) {
    const seen = present.get(id);
    if (seen === undefined || seen.name !== wanted.name || seen.state !== wanted.state) return false;
    if (seen.startedAt !== wanted.startedAt || seen.networks.length !== wanted.networks.length) return false;
    for (const network of wanted.networks) {
      const found = seen.networks.find(({ name }) => name === network.name);
      if (found?.bridge !== network.bridge || found.vethIndex !== network.vethIndex) return false;
      if ([...found.addresses].sort().join() !== [...network.addresses].sort().join()) return false;
    }
  }
  return true;
}
