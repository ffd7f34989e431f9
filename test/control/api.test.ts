import { request } from "node:http";
import { setTimeout } from "node:timers/promises";
import t from "tap";
import { ManualClock } from "../../src/clock.ts";
import { buildApi } from "../../src/control/api.ts";
import { ROUTES } from "../../src/control/routes.ts";
import { TidesmanError } from "../../src/errors.ts";
import { audit, fold, incidentSummary, modelFile, Script } from "./scripted.ts";

function api(script = new Script(), clock = new ManualClock()) {
  const errors: unknown[] = [];
  const app = buildApi({
    dependencies: script,
    version: "0.1.0",
    clock,
    onError: (error) => errors.push(error),
  });
  return { app, script, errors, clock };
}

const EXAMPLES: Readonly<Record<string, { url: string; body?: object }>> = {
  "/api/v1/models/:key": { url: "/api/v1/models/1f1f1f" },
  "/api/v1/models/:key/change": { url: "/api/v1/models/1f1f1f/change", body: { action: "lock" } },
  "/api/v1/models/:key/export": { url: "/api/v1/models/1f1f1f/export" },
  "/api/v1/models/import": { url: "/api/v1/models/import", body: modelFile },
  "/api/v1/incidents/:id": { url: "/api/v1/incidents/01KB" },
  "/api/v1/incidents/:id/ack": { url: "/api/v1/incidents/01KB/ack" },
  "/api/v1/incidents/:id/close": { url: "/api/v1/incidents/01KB/close", body: { note: "done" } },
  "/api/v1/evidence/:which": { url: "/api/v1/evidence/web" },
  "/api/v1/policy/replay": { url: "/api/v1/policy/replay", body: { text: "strict", since: "1h" } },
  "/api/v1/why": { url: "/api/v1/why?container=web&target=evil.example" },
  "/api/v1/exemptions": {
    url: "/api/v1/exemptions",
    body: { container: "web", target: "evil.example", time: 3_600 },
  },
  "/api/v1/exemptions/withdraw": { url: "/api/v1/exemptions/withdraw", body: { container: "web" } },
  "/api/v1/unblock": { url: "/api/v1/unblock", body: { container: "miner" } },
};

t.test("every route answers in the shape it promises", async (t) => {
  const { app, script } = api();
  script.stored = [audit(1), fold(2)];
  for (const route of ROUTES) {
    const { url, body } = EXAMPLES[route.path] ?? { url: route.path };
    const answer = await app.inject({
      method: route.method,
      url,
      ...(body === undefined || route.method === "GET" ? {} : { payload: body }),
    });
    t.equal(answer.statusCode, 200, `${route.method} ${url}`);
    t.match(answer.headers["content-type"], /^application\/json/);
    const checked = route.response.safeParse(answer.json());
    t.ok(checked.success, `${route.path}: ${checked.error?.message ?? "fits"}`);
    // Unknown keys are stripped by the schema: there are none.
    t.same(checked.data, answer.json());
  }
});

t.test("the description names every route, and its schemas are OpenAPI's", async (t) => {
  const { app } = api();
  const document = (await app.inject("/api/openapi.json")).json();
  t.equal(document.openapi, "3.1.0");
  for (const route of ROUTES) {
    const path = route.path.replace(/:(\w+)/, "{$1}");
    t.ok(document.paths[path]?.[route.method.toLowerCase()], `${route.method} ${path}`);
  }
  const audits = document.paths["/api/v1/audits"].get;
  t.match(
    audits.parameters.map((one: { name: string }) => one.name),
    ["since", "until", "container", "attackType"],
  );
  t.notOk(audits.parameters.some((one: { required: boolean }) => one.required));
  t.ok(document.paths["/api/v1/why"].get.parameters.every((one: { required: boolean }) => one.required));
  t.match(audits.responses["200"].content["application/json"].schema, { type: "array" });
});

t.test("input that does not fit is TM_USAGE and says what", async (t) => {
  const { app, script } = api();
  const bad: readonly (readonly ["GET" | "POST", string, RegExp, string?])[] = [
    ["GET", "/api/v1/audits?limit=0", /`limit`/],
    ["GET", "/api/v1/audits?limit=many", /`limit`/],
    ["GET", "/api/v1/audits?colour=red", /colour/],
    ["GET", "/api/v1/audits?since=yesterday", /since `yesterday` is no time/],
    ["GET", "/api/v1/audits?effect=disable", /`effect`/],
    ["GET", "/api/v1/why?container=web", /`target`/],
    ["GET", "/api/v1/models/%ff", /not a valid url/],
    ["GET", "/api/v1/why?container=web&target=1.2.3.4:99999", /above 65535/],
    ["POST", "/api/v1/unblock", /`container`/, "{}"],
    ["POST", "/api/v1/unblock", /JSON/i, "{"],
    ["POST", "/api/v1/policy/replay", /`text`/, "{}"],
    ["POST", "/api/v1/policy/replay", /since `soon` is no time/, '{"text":"","since":"soon"}'],
    ["POST", "/api/v1/exemptions", /`time`/, '{"container":"web","target":"a.example","time":0}'],
    ["POST", "/api/v1/exemptions/withdraw", /targte/, '{"container":"web","targte":"a.example"}'],
  ];
  for (const [method, url, message, payload] of bad) {
    const headers = payload === undefined ? {} : { "content-type": "application/json" };
    const answer = await app.inject({ method, url, headers, ...(payload === undefined ? {} : { payload }) });
    t.equal(answer.statusCode, 400, url);
    t.match(answer.json(), { code: "TM_USAGE", message }, url);
  }
  t.same(script.calls, []);
});

t.test("failures carry their code and a fitting status; what is not ours stays in the log", async (t) => {
  const { app, script, errors } = api();
  const cases = [
    [new TidesmanError("TM_NOT_FOUND", "no such thing"), 404],
    [new TidesmanError("TM_POLICY", "policy.yaml:1:1: wrong"), 422],
    [new TidesmanError("TM_STORE", "disk full"), 503],
    [new TidesmanError("TM_DOCKER", "away"), 502],
    [new TidesmanError("TM_RULESET", "iptables failed"), 500],
  ] as const;
  for (const [failure, status] of cases) {
    script.failure = failure;
    const answer = await app.inject("/api/v1/status");
    t.equal(answer.statusCode, status);
    t.same(answer.json(), { code: failure.code, message: failure.message });
  }
  script.failure = new TypeError("cannot read secrets of undefined");
  const answer = await app.inject("/api/v1/status");
  t.equal(answer.statusCode, 500);
  t.match(answer.json(), { code: "TM_INTERNAL", message: /log says why/ });
  t.equal(errors.at(-1), script.failure);
  t.match((await app.inject("/api/v1/nothing")).json(), { code: "TM_NOT_FOUND" });
  t.match((await app.inject({ method: "DELETE", url: "/api/v1/status" })).json(), { code: "TM_NOT_FOUND" });
});

t.test("audits take filters as an operator writes them", async (t) => {
  const { app, script } = api();
  await app.inject(
    "/api/v1/audits?since=2026-11-24T00:00:00Z&container=web&attackType=feedDNS&effect=prevent&limit=5&after=",
  );
  t.same(JSON.parse(script.calls[0]!.slice(7)), {
    limit: 5,
    since: Date.UTC(2026, 10, 24),
    container: "web",
    attackType: "feedDNS",
    effect: "prevent",
    after: "",
  });
});

t.test("a policy to be tried may be large, and what is said of a container may not", async (t) => {
  const { app } = api();
  const text = "#".repeat(1 << 20);
  const tried = await app.inject({ method: "POST", url: "/api/v1/policy/replay", payload: { text } });
  t.equal(tried.statusCode, 200);
  const unblocked = await app.inject({
    method: "POST",
    url: "/api/v1/unblock",
    payload: { container: text },
  });
  t.equal(unblocked.statusCode, 400);
});

t.test("metrics are Prometheus text", async (t) => {
  const { app } = api();
  const answer = await app.inject("/metrics");
  t.match(answer.headers["content-type"], /^text\/plain; version=0\.0\.4/);
  const text = answer.body;
  for (const line of text.split("\n")) {
    if (line !== "" && !line.startsWith("#")) t.match(line, /^tidesman_[a-z_]+(\{[^}]+\})? [0-9.e+-]+$/);
  }
  t.match(text, 'tidesman_dns_outcomes_total{outcome="prevented"} 12');
  t.match(text, "tidesman_queue_overflow_total 7");
  t.match(text, 'tidesman_feed_entries{feed="urlhaus"} 123456');
  t.match(text, "tidesman_policy_reload_refused 1");
  t.match(text, "tidesman_exemptions 1");
  t.match(text, 'tidesman_incidents_open{kind="portScan"} 2');
  t.match(text, "tidesman_incidents_acknowledged 1");
  t.match(text, 'tidesman_incidents_opened_total{kind="portScan"} 5');
  t.match(text, 'tidesman_incidents_closed_by_itself_total{reason="container_gone"} 1');
});

t.test(
  "events while nobody can be subscribed to: a failure like any other, and no client that waits for ever",
  async (t) => {
    const { app, script } = api();
    script.subscribe = () => {
      throw new TidesmanError("TM_UNREACHABLE", "the daemon is still starting");
    };
    const answer = await app.inject("/api/v1/events");
    t.equal(answer.statusCode, 503);
    t.match(answer.json(), { code: "TM_UNREACHABLE" });
    t.equal(script.subscribers, 0);
  },
);

t.test(
  "events: told as they come, bounded for a client that does not read, gone when it leaves",
  async (t) => {
    const { app, script, clock } = api();
    await app.listen({ host: "127.0.0.1", port: 0 });
    t.teardown(() => app.close());
    const address = app.server.address();
    const port = typeof address === "object" ? address?.port : undefined;
    const asked = request({ host: "127.0.0.1", port, path: "/api/v1/events" });
    asked.end();
    const response = await new Promise<import("node:http").IncomingMessage>((resolve) =>
      asked.on("response", resolve),
    );
    t.match(response.headers["content-type"], /^text\/event-stream/);
    let text = "";
    response.setEncoding("utf8").on("data", (chunk: string) => {
      text += chunk;
    });
    const until = async (wanted: string): Promise<void> => {
      const deadline = Date.now() + 10_000;
      while (!text.includes(wanted)) {
        if (Date.now() > deadline) throw new Error(`never came: ${wanted}`);
        await setTimeout(2);
      }
    };
    await until(": audits and incidents\n\n");
    t.equal(script.subscribers, 2);
    script.emit(audit(1));
    script.emit(audit(1, { count: 2 }), false);
    await until('"count":2');
    t.match(text, `id: ${audit(1).id}\nevent: audit\ndata: {`);
    t.match(text, "event: auditRepeated\ndata: {");
    script.emitIncident(incidentSummary);
    script.emitIncident({ ...incidentSummary, state: "closed", note: "done" }, false);
    await until('"note":"done"');
    t.match(text, `id: ${incidentSummary.id}\nevent: incident\ndata: ${JSON.stringify(incidentSummary)}\n\n`);
    t.match(text, "event: incidentChanged\ndata: {");
    clock.advance(15_000);
    await until(": still here\n\n");

    response.pause();
    const large = "x".repeat(100_000);
    const memory = process.memoryUsage().external;
    for (let index = 0; index < 2_000; index++) script.emit(audit(index, { message: large }));
    t.ok(process.memoryUsage().external - memory < 100_000_000, "what waits is bounded");
    text = "";
    response.resume();
    // Told with the first event for which there is room again.
    const deadline = Date.now() + 20_000;
    while (!text.includes("event: lost")) {
      if (Date.now() > deadline) throw new Error("never told of the loss");
      script.emit(audit(9_999));
      await setTimeout(2);
    }
    t.match(text, /event: lost\ndata: \{"count":\d+\}\n\n/);
    response.destroy();
    const end = Date.now() + 10_000;
    while (script.subscribers > 0 && Date.now() < end) await setTimeout(2);
    t.equal(script.subscribers, 0);
  },
);
