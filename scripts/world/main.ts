/** The command `scripts/lab`: raises and removes sealed worlds. */
import { spawn } from "node:child_process";
import { HOST } from "./network.ts";
import { removeStale, removeWorld, worlds } from "./removal.ts";
import { describeWorld, raiseWorld, type World, worldRefusal } from "./world.ts";

const USAGE = `usage: scripts/lab up              raise a world that stays, and say how to use it
       scripts/lab list            the worlds there are
       scripts/lab down [ID…]      remove them (all that stay, when none is named)
       scripts/lab run -- CMD…     raise a world, run CMD on its host, remove it

A world is a host with its own Docker, an Internet with servers, and containers
c1 and c2 on the default bridge, u1 on a user-defined network; all with IPv6.
CMD finds TIDESMAN_LAB_*, DOCKER_HOST and DOCKER_CONFIG in its environment.`;

async function raiseWithContainers(persistent: boolean): Promise<World> {
  const world = await raiseWorld({ persistent });
  try {
    await world.engine.run("c1");
    await world.engine.run("c2", { image: "lab/tools:2" });
    await world.engine.run("u1", { options: ["--network", HOST.network] });
  } catch (error) {
    world.remove();
    throw error;
  }
  return world;
}

async function up(): Promise<number> {
  const begin = performance.now();
  const world = await raiseWithContainers(true);
  const seconds = ((performance.now() - begin) / 1000).toFixed(1);
  const variables = Object.entries(describeWorld(world)).map(([name, value]) => `export ${name}=${value}`);
  console.log(`# world ${world.id} is up after ${seconds} s; remove it with: scripts/lab down ${world.id}`);
  console.log(`# a shell on its host: nsenter --net=${world.host.path}`);
  console.log(variables.join("\n"));
  return 0;
}

async function run(command: readonly string[]): Promise<number> {
  const [program, ...args] = command;
  if (program === undefined) return usage();
  const world = await raiseWithContainers(false);
  try {
    const child = spawn("nsenter", world.host.enter(program, args), {
      stdio: "inherit",
      env: { ...process.env, ...describeWorld(world) },
    });
    return await new Promise<number>((resolve, reject) => {
      child.on("error", reject);
      child.on("close", (code) => resolve(code ?? 137));
    });
  } finally {
    world.remove();
  }
}

function down(ids: readonly string[]): number {
  removeStale();
  const known = worlds();
  const unknown = ids.filter((id) => !known.some((world) => world.id === id));
  for (const id of unknown) console.error(`lab: there is no world \`${id}\`; scripts/lab list shows them`);
  const wanted = known.filter((world) => (ids.length === 0 ? world.persistent : ids.includes(world.id)));
  for (const { id } of wanted) {
    removeWorld(id);
    console.log(`removed ${id}`);
  }
  return unknown.length === 0 ? 0 : 1;
}

function list(): number {
  for (const { id, persistent, stale } of worlds()) {
    console.log(`${id}  ${stale ? "left over" : persistent ? "stays" : "in use"}`);
  }
  return 0;
}

function usage(): number {
  console.error(USAGE);
  return 2;
}

async function main(args: readonly string[]): Promise<number> {
  const [verb, ...rest] = args;
  if (verb === "--help" || verb === "-h") {
    console.log(USAGE);
    return 0;
  }
  const takesNothing = verb === "up" || verb === "list";
  if (verb === undefined || !["up", "down", "list", "run"].includes(verb)) return usage();
  if ((takesNothing && rest.length > 0) || (verb === "run" && rest[0] !== "--")) return usage();
  if (verb === "list") return list();
  const refusal = await worldRefusal();
  if (refusal !== null) {
    console.error(`lab: ${refusal}`);
    return 4;
  }
  if (verb === "down") return down(rest);
  return verb === "up" ? up() : run(rest.slice(1));
}

process.exitCode = await main(process.argv.slice(2));
