/** Lists that come in parts: collections of TAXII servers, folders of MISP feeds. */
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import t from "tap";
import { type Clock, systemClock } from "../../src/clock.ts";
import { fetchLists } from "../../src/feed/fetch.ts";
import { failure, feed, fetchOne, OPTIONS, origin } from "./fetch-world.ts";

const TAXII = "application/taxii+json;version=2.1";

function indicator(id: number): Record<string, unknown> {
  return { type: "indicator", id: `indicator--${id}`, pattern: `[domain-name:value = 'x${id}.example']` };
}

t.test("a collection is read page by page", async (t) => {
  let type = TAXII;
  let pages: Record<string, unknown> = {
    "": { more: true, next: "p 2", objects: [indicator(1), { type: "malware", id: "malware--1" }] },
    "p 2": { more: true, next: "3", objects: [indicator(2)] },
    "3": { more: false, objects: [indicator(3)] },
  };
  const server = await origin(t, (request, response) => {
    const url = new URL(request.url ?? "", "http://x");
    response.writeHead(200, { "content-type": type });
    response.end(JSON.stringify(pages[url.searchParams.get("next") ?? ""]));
  });
  const folder = t.testdir();
  const url = `${server.url}/api/collections/1`;
  const collection = feed(folder, "a", { protocol: "taxii", url });
  t.match(await fetchOne(collection), { kind: "changed", url: `${url}/objects/` });
  t.strictSame(
    server.requests.map((request) => request.url),
    [
      "/api/collections/1/objects/",
      "/api/collections/1/objects/?next=p+2",
      "/api/collections/1/objects/?next=3",
    ],
  );
  t.equal(server.requests[0]?.headers.accept, TAXII);
  t.strictSame(JSON.parse(readFileSync(collection.path, "utf8")), {
    objects: [indicator(1), indicator(2), indicator(3)],
  });
  t.strictSame(await fetchOne(collection), { kind: "unchanged" });
  for (const form of [`${url}/objects/`, `${url}/objects`, `${url}/`]) {
    t.strictSame(await fetchOne(feed(folder, "a", { protocol: "taxii", url: form })), { kind: "unchanged" });
    t.equal(server.requests.at(-3)?.url, "/api/collections/1/objects/");
  }

  const whole = readFileSync(collection.path, "utf8");
  const refused = async (message: string, limits = {}) => {
    const said = failure(await fetchOne(feed(folder, "a", { protocol: "taxii", url, ...limits })));
    t.ok(said.includes(message), said);
    t.equal(readFileSync(collection.path, "utf8"), whole);
    t.strictSame(readdirSync(folder).sort(), ["a", "a.json"]);
  };
  await refused("longer than 250 bytes", { maxSize: 250 });
  pages = { ...pages, "3": { more: true, next: "p 2", objects: [] } };
  await refused("leads back to a page that was read");
  pages = { ...pages, "3": { more: true, objects: [] } };
  await refused("does not say where");
  pages = { ...pages, "3": ["no envelope"] };
  await refused("no TAXII envelope");
  type = "text/html";
  await refused("of the type `text/html`, not JSON");
  type = "application/json; charset=utf-8";
  pages = { "": {} };
  t.match(await fetchOne(collection), { kind: "changed" }, "an empty envelope is an empty collection");
  t.equal(readFileSync(collection.path, "utf8"), '{"objects":[]}\n');
});

t.test("pages without end are given up", async (t) => {
  let page = 0;
  const server = await origin(t, (_request, response) => {
    page += 1;
    response.writeHead(200, { "content-type": TAXII });
    response.end(JSON.stringify({ more: true, next: `${page}`, objects: [] }));
  });
  const said = failure(await fetchOne(feed(t.testdir(), "a", { protocol: "taxii", url: server.url })));
  t.match(said, "more than 1000 pages");
  t.equal(server.requests.length, 1000);
});

const uuid = (id: number): string => `00000000-0000-4000-8000-${String(id).padStart(12, "0")}`;

t.test("of a folder only the events that changed are fetched", async (t) => {
  const events = new Map<string, { timestamp: string; date: string; value: string }>();
  const set = (id: number, timestamp: number): void => {
    events.set(uuid(id), { timestamp: `${timestamp}`, date: "2026-11-24", value: `v${timestamp}.example` });
  };
  for (const id of [1, 2, 3]) set(id, 1);
  const extra: Record<string, unknown> = {};
  const missing = new Set<string>();
  let broken: string | null = null;
  const server = await origin(t, (request, response) => {
    const name = /^\/feed\/(.*)\.json$/.exec(request.url ?? "")?.[1] ?? "";
    if (name === "manifest") {
      const manifest = Object.fromEntries(
        [...events].map(([id, { timestamp, date }]) => [id, { timestamp, date, info: "" }]),
      );
      const text = JSON.stringify({ ...manifest, ...extra });
      const etag = `"${Buffer.from(text).toString("base64url")}"`;
      if (request.headers["if-none-match"] === etag) response.writeHead(304).end();
      else response.writeHead(200, { etag }).end(text);
      return;
    }
    const event = events.get(name);
    if (event === undefined || missing.has(name)) response.writeHead(404).end();
    else if (name === broken) response.end('{"Event":{');
    else response.end(JSON.stringify({ Event: { uuid: name, ...event, Attribute: [] } }));
  });
  const folder = t.testdir();
  const list = feed(folder, "a", { protocol: "misp", url: `${server.url}/feed/` });
  const run = async () => {
    const before = server.requests.length;
    const outcome = await fetchOne(list);
    const asked = server.requests.slice(before).map(({ url }) => url?.replace(/^\/feed\/|\.json$/g, ""));
    return { outcome, asked: asked.map((name) => (name === "manifest" ? name : Number(name?.slice(-12)))) };
  };
  t.match(await run(), { outcome: { kind: "changed" }, asked: ["manifest", 1, 2, 3] });
  t.strictSame(
    readdirSync(`${folder}/a`).sort(),
    [1, 2, 3].map((id) => `${uuid(id)}.json`).concat("manifest.json"),
  );
  t.strictSame(await run(), { outcome: { kind: "unchanged" }, asked: ["manifest"] });
  t.ok(server.requests.at(-1)?.headers["if-none-match"]);
  set(2, 5);
  set(4, 5);
  events.delete(uuid(1));
  t.match(await run(), { outcome: { kind: "changed" }, asked: ["manifest", 2, 4] });
  t.notOk(existsSync(`${folder}/a/${uuid(1)}.json`));
  t.match(JSON.parse(readFileSync(`${folder}/a/${uuid(2)}.json`, "utf8")), {
    Event: { value: "v5.example" },
  });

  await t.test("and those that are gone", async (t) => {
    rmSync(`${folder}/a/${uuid(3)}.json`);
    t.match(await run(), { outcome: { kind: "changed" }, asked: ["manifest", 3] });
  });
  await t.test("a run that fails keeps the manifest, and what it has is not fetched again", async (t) => {
    const manifest = readFileSync(`${folder}/a/manifest.json`, "utf8");
    set(2, 6);
    set(3, 6);
    broken = uuid(3);
    const { outcome } = await run();
    t.match(failure(outcome), "cut short or damaged");
    t.equal(readFileSync(`${folder}/a/manifest.json`, "utf8"), manifest);
    t.match(readFileSync(`${folder}/a/${uuid(3)}.json`, "utf8"), "v1.example");
    broken = null;
    t.match(await run(), { outcome: { kind: "changed" }, asked: ["manifest", 3] });
  });
  await t.test("an event that the server does not have is left out", async (t) => {
    set(9, 1);
    missing.add(uuid(9));
    t.match(await run(), { outcome: { kind: "changed" }, asked: ["manifest", 9] });
    t.match(await run(), { outcome: { kind: "unchanged" }, asked: ["manifest", 9] });
    events.delete(uuid(9));
    await run();
  });
  await t.test("names that are no UUID are no paths", async (t) => {
    extra["../../escape"] = { timestamp: "1" };
    writeFileSync(`${folder}/escape.json`, "mine");
    t.match(await run(), { asked: ["manifest"] });
    t.equal(readFileSync(`${folder}/escape.json`, "utf8"), "mine");
    rmSync(`${folder}/escape.json`);
  });
  await t.test("what a crash left is removed, what is not ours stays", async (t) => {
    writeFileSync(`${folder}/a/.manifest.json.0123abcd.tmp`, "");
    writeFileSync(`${folder}/a/${uuid(77)}.json`, "");
    writeFileSync(`${folder}/a/notes`, "");
    set(2, 7);
    await run();
    t.strictSame(
      readdirSync(`${folder}/a`).sort(),
      [2, 3, 4].map((id) => `${uuid(id)}.json`).concat("manifest.json", "notes"),
    );
  });
  await t.test("a manifest that is none, or too much, changes nothing", async (t) => {
    const before = readFileSync(`${folder}/a/manifest.json`, "utf8");
    set(4, 8);
    for (const [url, limit, message] of [
      [`${server.url}/none/`, 1_000_000, "answered 404"],
      [`${server.url}/feed/`, 10, "longer than 10 bytes"],
      [`${server.url}/feed/${uuid(2)}.json`, 1_000_000, "answered 404"],
    ] as const) {
      const said = failure(await fetchOne(feed(folder, "a", { protocol: "misp", url, maxSize: limit })));
      t.ok(said.includes(message), said);
      t.equal(readFileSync(`${folder}/a/manifest.json`, "utf8"), before);
    }
  });
  await t.test("what came from elsewhere does not count", async (t) => {
    const before = server.requests.length;
    const moved = feed(folder, "a", { protocol: "misp", url: `${server.url}/feed/manifest.json` });
    t.match(await fetchOne(moved), { kind: "changed" });
    t.equal(server.requests.length, before + 4);
    t.equal(server.requests[before]?.headers["if-none-match"], undefined);
  });
  await t.test("two feeds share the transfers of one folder, also by the name of its manifest", async (t) => {
    const before = server.requests.length;
    const url = `${server.url}/feed/manifest.json`;
    const outcomes = await fetchLists(
      ["b", "c"].map((name) => feed(folder, name, { protocol: "misp", url })),
      OPTIONS,
    );
    t.match(Object.fromEntries(outcomes), { b: { kind: "changed" }, c: { kind: "changed" } });
    t.equal(server.requests.length, before + 4);
    t.strictSame(readdirSync(`${folder}/b`), readdirSync(`${folder}/c`));
  });
});

t.test("parts without end in time", async (t) => {
  let end = (): void => {};
  const clock: Clock = {
    ...systemClock,
    after(ms, callback) {
      if (ms === 400_000) end = callback;
      return { cancel() {} };
    },
  };
  const server = await origin(t, (request, response) => {
    const next = Number(new URL(request.url ?? "", "http://x").searchParams.get("next")) + 1;
    if (next === 10) end();
    response.writeHead(200, { "content-type": TAXII });
    response.end(JSON.stringify({ more: true, next: `${next}`, objects: [] }));
  });
  const slow = feed(t.testdir(), "a", { protocol: "taxii", url: server.url, timeout: 20_000 });
  t.equal(failure(await fetchOne(slow, { clock })), "its parts took more than 400 seconds");
});

t.test("a list that is fetched in another way takes the place of what was kept", async (t) => {
  const server = await origin(t, (request, response) => {
    if (request.url === "/feed/manifest.json") response.end(`{"${uuid(1)}":{"timestamp":"1"}}`);
    else if (request.url === "/list") response.end("evil.example\n");
    else response.end(JSON.stringify({ Event: { Attribute: [] } }));
  });
  const folder = t.testdir();
  const list = feed(folder, "a", { url: `${server.url}/list` });
  const events = feed(folder, "a", { protocol: "misp", url: `${server.url}/feed/` });
  for (let round = 0; round < 2; round++) {
    t.match(await fetchOne(list), { kind: "changed" });
    t.equal(readFileSync(list.path, "utf8"), "evil.example\n");
    t.match(await fetchOne(events), { kind: "changed" });
    t.strictSame(readdirSync(list.path).sort(), [`${uuid(1)}.json`, "manifest.json"]);
  }
});
