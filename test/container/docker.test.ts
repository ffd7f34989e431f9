import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { ManualClock, systemClock } from "../../src/clock.ts";
import { DockerClient } from "../../src/container/docker.ts";
import { DockerError, decodeEvent, type EngineEvent, isGone } from "../../src/container/engine.ts";
import { listeningDocker, until } from "./world.ts";

const never = new AbortController().signal;

t.test("the older API version of the two is spoken", async (t) => {
  const docker = await listeningDocker();
  const client = new DockerClient({ socket: docker.socket, clock: systemClock });
  t.teardown(async () => {
    await client.close();
    await docker.close();
    docker[Symbol.dispose]();
  });
  for (const [theirs, spoken] of [
    ["1.41", "1.41"],
    ["1.44", "1.44"],
    ["1.99", "1.51"],
  ]) {
    docker.version = { ApiVersion: theirs, MinAPIVersion: "1.24", Version: `engine of ${theirs}` };
    const stop = new AbortController();
    await client.events(null, stop.signal);
    stop.abort();
    t.equal(await client.version(), spoken);
    t.equal(client.engine, `engine of ${theirs}`);
    await client.containers();
    t.match(docker.requests.at(-1), `GET /v${spoken}/containers/json?all=1`);
  }
  for (const version of [
    { ApiVersion: "1.24" },
    { ApiVersion: "1.90", MinAPIVersion: "1.80" },
    {},
    { ApiVersion: 7 },
  ]) {
    docker.version = version;
    await t.rejects(client.events(null, never), { code: "TM_DOCKER" }, JSON.stringify(version));
  }
});

t.test("what cannot be reached is said, with what to do", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "tm-ctr-"));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  const ask = async (socket: string): Promise<DockerError> => {
    const client = new DockerClient({ socket, clock: systemClock });
    try {
      await client.containers();
    } catch (error) {
      if (error instanceof DockerError) return error;
      throw error;
    } finally {
      await client.close();
    }
    throw new Error("it answered");
  };
  const missing = await ask(join(directory, "missing.sock"));
  t.equal(missing.code, "TM_DOCKER");
  t.match(missing.message, /missing\.sock` is missing; start docker/);
  const plain = join(directory, "plain");
  writeFileSync(plain, "");
  t.match((await ask(plain)).message, /nothing listens on|is not a socket/);
  const socket = join(directory, "raw.sock");
  const raw = createServer((connection) => connection.end("what?\r\n\r\n"));
  await new Promise<void>((resolve) => raw.listen(socket, resolve));
  t.equal((await ask(socket)).code, "TM_DOCKER");
  raw.close();
  if (process.getuid?.() === 0) {
    const docker = await listeningDocker();
    chmodSync(docker.socket, 0o600);
    process.seteuid?.(65_534);
    const denied = await ask(docker.socket).finally(() => process.seteuid?.(0));
    t.equal(denied.code, "TM_DOCKER_NOT_PERMITTED");
    t.equal(denied.exitStatus, 4);
    await docker.close();
    docker[Symbol.dispose]();
  }
});

t.test("bad answers", async (t) => {
  const docker = await listeningDocker();
  const clock = new ManualClock();
  const client = new DockerClient({ socket: docker.socket, clock });
  t.teardown(async () => {
    await client.close();
    await docker.close();
    docker[Symbol.dispose]();
  });
  docker.fail(/containers\/json/, 500);
  await t.rejects(client.containers(), { code: "TM_DOCKER", status: 500, message: /made to fail with 500/ });
  docker.garble(/containers\/json/, "<html>");
  await t.rejects(client.containers(), { code: "TM_DOCKER", message: /no JSON: `<html>`/ });
  docker.garble(/containers\/json/, "{}");
  await t.rejects(client.containers(), { code: "TM_DOCKER", message: /no list/ });
  docker.garble(/networks/, '[{"Name":"x"}]');
  await t.rejects(client.networks(), { code: "TM_DOCKER", message: /network without an id/ });
  docker.fail(/containers\/json/, 403);
  await t.rejects(client.containers(), { code: "TM_DOCKER_NOT_PERMITTED" });
  await client.container("nobody").then(
    () => t.fail("nobody was found"),
    (error: unknown) => t.ok(isGone(error)),
  );
  t.same(await client.containers(), [], "and it goes on");

  const held = Promise.withResolvers<void>();
  docker.delay(/containers\/json/, () => held.promise);
  const slow = client.containers();
  await until(() => docker.requests.at(-1)?.includes("containers") ?? false, "the question arrives");
  clock.advance(10_000);
  await t.rejects(slow, { code: "TM_DOCKER", message: /did not answer `GET .*` in time/ });
  held.resolve();
});

t.test("events: pieces, replay, cut-off lines, garbage", async (t) => {
  const docker = await listeningDocker();
  const client = new DockerClient({ socket: docker.socket, clock: systemClock });
  t.teardown(async () => {
    await client.close();
    await docker.close();
    docker[Symbol.dispose]();
  });
  const seen: EngineEvent[] = [];
  const read = async (events: AsyncIterable<EngineEvent>): Promise<void> => {
    for await (const event of events) seen.push(event);
  };
  const first = read(await client.events(null, never));
  docker.create("one");
  await until(() => seen.length === 1, "an event in two pieces");
  t.match(seen[0], { type: "container", action: "create", attributes: { name: "one" } });
  docker.breakEvents('{"Type":"container","Action":"st');
  await first;
  t.equal(seen.length, 1, "the cut-off line is dropped");

  docker.create("two");
  const second = read(await client.events(seen[0]?.time ?? "", never));
  await until(() => seen.length === 3, "what was missed is told again");
  t.equal(seen[1]?.attributes.name, "one");
  t.equal(seen[2]?.attributes.name, "two");
  docker.breakEvents("no json\n");
  await t.rejects(second, { code: "TM_DOCKER", message: /no JSON: `no json`/ });

  const stop = new AbortController();
  const third = read(await client.events(null, stop.signal));
  stop.abort();
  await t.rejects(third, { code: "TM_DOCKER" });
});

t.test("an event's time keeps its nanoseconds; a record separator is accepted", async (t) => {
  const line =
    '{"Type":"network","Action":"connect","Actor":{"ID":"n"},"time":1795503185,"timeNano":1795503185152948476}';
  t.equal(decodeEvent(line).time, "1795503185.152948476");
  t.equal(decodeEvent(`\u001e${line}`).type, "network");
  t.match(decodeEvent('{"status":"die","id":"abc","time":5}'), {
    type: "container",
    action: "die",
    id: "abc",
    time: "5",
  });
});
