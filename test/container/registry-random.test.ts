/**
 * Whatever happens to containers, in whatever order, with answers that come late and streams that break: in the end the
 * registry knows what the engine knows, and on the way no address has two owners.
 */
import fc from "fast-check";
import t from "tap";
import type { FakeDocker } from "./fake-docker.ts";
import { agrees, listeningDocker, until, type World, world } from "./world.ts";

/** A number picks among what there is when its turn comes. */
type Step = readonly [operation: string, container: number, network: number, turns: number];

const OPERATIONS = [
  "create",
  "join",
  "run",
  "start",
  "die",
  "restart",
  "pause",
  "unpause",
  "rename",
  "connect",
  "disconnect",
  "remove",
  "addNetwork",
  "removeNetwork",
  "break",
  "hint",
  "mute",
  "unmute",
] as const;

function perform({ docker, registry }: World, [operation, which, where]: Step, serial: number): void {
  const containers = [...docker.containers.values()];
  const networks = [...docker.networks.values()].filter(({ driver }) => driver === "bridge");
  const container = containers[which % Math.max(1, containers.length)];
  const network = networks[where % networks.length];
  if (network === undefined) return;
  const { id } = container ?? {};
  if (operation === "create")
    docker.create(`c${serial}`, { networks: where % 2 === 0 ? ["bridge"] : [network.name] });
  else if (operation === "addNetwork") docker.addNetwork(`n${serial}`, { ipv6: where % 2 === 0 });
  else if (operation === "removeNetwork" && network.name !== "bridge") docker.removeNetwork(network.id);
  else if (operation === "mute" || operation === "unmute") docker.muted = operation === "mute";
  else if (operation === "break") docker.breakEvents(where % 2 === 0 ? "" : '{"Type":"contai');
  else if (id === undefined || container === undefined) return;
  else if (operation === "hint") {
    for (const { hostIndex, ipv4 } of container.endpoints.values()) registry.hint(hostIndex, ipv4);
  } else if (operation === "rename") docker.rename(id, `r${serial}`);
  else if (operation === "connect" || operation === "disconnect") docker[operation](id, network.id);
  else if (isPlain(operation)) docker[operation](id);
}

type Plain = "join" | "run" | "start" | "die" | "restart" | "pause" | "unpause" | "remove";
function isPlain(operation: string): operation is Plain {
  return ["join", "run", "start", "die", "restart", "pause", "unpause", "remove"].includes(operation);
}

/** Answers come in an order of their own. */
function jitter(docker: FakeDocker, delays: readonly number[]): void {
  let next = 0;
  const pause = async (): Promise<void> => {
    const turns = delays[next++ % delays.length] ?? 0;
    for (let turn = 0; turn < turns; turn++) await new Promise(setImmediate);
  };
  docker.delay(/^GET \/(containers|networks|images)/, pause, Number.POSITIVE_INFINITY);
  docker.late = pause;
}

/** Replays what the listener was told; the first address that had two owners at once. */
function twiceOwned({ changes }: World): string | null {
  const owner = new Map<string, string>();
  for (const { gone, remove, upsert } of changes) {
    for (const address of gone) owner.delete(address);
    for (const [address, id] of owner) if (remove.includes(id)) return `${address} was not told to be gone`;
    for (const { id, networks } of upsert) {
      const addresses = networks.flatMap((network) => network.addresses);
      for (const [address, had] of owner) {
        if (had === id && !addresses.includes(address)) return `${address} left ${id} unsaid`;
      }
      for (const address of addresses) {
        const other = owner.get(address);
        if (other !== undefined && other !== id) return `${address} of ${other} went to ${id}`;
        owner.set(address, id);
      }
    }
  }
  return null;
}

t.test("random histories", async (t) => {
  const step = fc.tuple(
    fc.constantFrom(...OPERATIONS),
    fc.nat(20),
    fc.nat(20),
    fc.constantFrom(0, 0, 0, 1, 5, 20, 60),
  );
  const history = fc.record({
    steps: fc.array(step, { minLength: 5, maxLength: 60 }),
    delays: fc.array(fc.nat(12), { minLength: 1, maxLength: 12 }),
  });
  await fc.assert(
    fc.asyncProperty(history, async ({ steps, delays }) => {
      const docker = await listeningDocker();
      docker.create("first");
      await using it = await world({ docker });
      await until(() => it.registry.state.connected, "connected");
      jitter(docker, delays);
      let serial = 0;
      for (const one of steps) {
        perform(it, one, ++serial);
        for (let turn = 0; turn < one[3]; turn++) await new Promise(setImmediate);
      }
      if (docker.muted || steps.some(([operation]) => operation === "mute")) {
        // Nothing can be known of what was never told, until a connection is made again.
        docker.muted = false;
        docker.breakEvents();
      }
      for (const { id, starting } of docker.containers.values()) if (starting) docker.run(id);
      await until(
        () => it.registry.state.connected && agrees(it),
        "the registry agrees with the engine",
        5_000,
      );
      await until(
        () =>
          it.registry.list().length === docker.containers.size &&
          it.registry.networks().length ===
            [...docker.networks.values()].filter(({ driver }) => driver === "bridge").length,
        "all containers and networks are listed",
        5_000,
      );
      const twice = twiceOwned(it);
      if (twice !== null) throw new Error(twice);
    }),
    { numRuns: 60, interruptAfterTimeLimit: 30_000, endOnFailure: false },
  );
  t.pass("all histories end well");
});
