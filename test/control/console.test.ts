import { readFileSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import t, { type Test } from "tap";
import { ManualClock } from "../../src/clock.ts";
import { openConsole } from "../../src/control/console.ts";
import { createLogger } from "../../src/log.ts";
import { Script } from "./scripted.ts";

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}

async function open(t: Test, stateDirectory: string, port?: number) {
  const log = createLogger({ level: "error", readable: false, colour: false, write: () => undefined });
  const options = { address: "127.0.0.1", port: port ?? (await freePort()), stateDirectory, log };
  const server = await openConsole({ ...options, dependencies: new Script(), clock: new ManualClock() });
  t.teardown(() => server?.close());
  return { server, url: `http://127.0.0.1:${options.port}` };
}

t.test("everything but the metrics needs the token", async (t) => {
  const state = t.testdir();
  const { url } = await open(t, state);
  const file = join(state, "console.token");
  t.equal(statSync(file).mode & 0o777, 0o600);
  const token = readFileSync(file, "utf8").trim();
  t.ok(token.length >= 43, "256 bits");

  const metrics = await fetch(`${url}/metrics`);
  t.equal(metrics.status, 200);
  t.match(await metrics.text(), /^tidesman_uptime_seconds /m);
  for (const path of [
    "/api/v1/status",
    "/api/openapi.json",
    "/api/v1/events",
    "/nothing",
    "/metrics/../api/v1/audits",
  ]) {
    t.equal((await fetch(url + path)).status, 401, path);
  }
  for (const authorization of [
    `Bearer ${token}x`,
    `Bearer ${token.slice(1)}`,
    `Basic ${token}`,
    token,
    "Bearer ",
  ]) {
    const answer = await fetch(`${url}/api/v1/status`, { headers: { authorization } });
    t.equal(answer.status, 401, authorization);
    t.match(await answer.json(), { code: "TM_NOT_PERMITTED" });
  }
  const answer = await fetch(`${url}/api/v1/status`, { headers: { authorization: `Bearer ${token}` } });
  t.equal(answer.status, 200);
  const unblock = { method: "POST", body: JSON.stringify({ container: "miner" }) };
  const headers = { "content-type": "application/json" };
  t.equal(
    (await fetch(`${url}/api/v1/unblock`, { ...unblock, headers })).status,
    401,
    "nothing is changed without it",
  );
});

t.test("the token stays", async (t) => {
  const state = t.testdir({ "console.token": "kept\n" });
  const { url } = await open(t, state);
  t.equal((await fetch(`${url}/api/v1/status`, { headers: { authorization: "Bearer kept" } })).status, 200);
});

t.test("an empty file is no token", async (t) => {
  const state = t.testdir({ "console.token": "\n" });
  const { url } = await open(t, state);
  t.equal((await fetch(`${url}/api/v1/status`, { headers: { authorization: "Bearer " } })).status, 401);
  t.not(readFileSync(join(state, "console.token"), "utf8").trim(), "");
});

t.test("port 0 turns it off", async (t) => {
  const { server } = await open(t, t.testdir(), 0);
  t.equal(server, null);
});

t.test("a port in use, an address of another host, a folder that cannot be written", async (t) => {
  const holder = createServer();
  await new Promise<void>((resolve) => holder.listen(0, "127.0.0.1", resolve));
  t.teardown(() => holder.close());
  const address = holder.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  await t.rejects(open(t, t.testdir(), address.port), { code: "TM_PORT_IN_USE", message: /`console.port`/ });
  const log = createLogger({ level: "error", readable: false, colour: false, write: () => undefined });
  const options = {
    port: 1,
    stateDirectory: t.testdir(),
    log,
    dependencies: new Script(),
    clock: new ManualClock(),
  };
  await t.rejects(openConsole({ ...options, address: "198.51.100.1" }), { code: "TM_CONFIG" });
  const blocked = t.testdir({ "console.token": {} });
  await t.rejects(open(t, blocked), { code: "TM_STORE" });
});
