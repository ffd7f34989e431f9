import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { dirname } from "node:path";
import { brotliCompressSync, gzipSync, zstdCompressSync } from "node:zlib";
import t from "tap";
import { systemClock } from "../../src/clock.ts";
import { fetchLists } from "../../src/feed/fetch.ts";
import { MAX_UNPACKED } from "../../src/feed/list/body.ts";
import { failure, feed, fetchOne, OPTIONS, origin } from "./fetch-world.ts";

const LIST = "evil.example\nbad.example\n";

function send(
  response: ServerResponse,
  body: string | Uint8Array,
  headers: Record<string, string> = {},
): void {
  response.writeHead(200, headers);
  response.end(body);
}

t.test("a list is fetched once, and then only when it changed", async (t) => {
  let body = LIST;
  const server = await origin(t, (request, response) => {
    const etag = `"${createHash("sha256").update(body).digest("hex")}"`;
    if (request.headers["if-none-match"] === etag) response.writeHead(304).end();
    else send(response, body, { etag, "last-modified": "Mon, 23 Nov 2026 10:00:00 GMT" });
  });
  const folder = `${t.testdir()}/bodies`;
  const list = feed(folder, "a", { url: `${server.url}/list` });
  t.strictSame(await fetchOne(list), { kind: "changed", bytes: LIST.length, url: `${server.url}/list` });
  t.equal(readFileSync(list.path, "utf8"), LIST);
  t.strictSame(readdirSync(folder).sort(), ["a", "a.json"]);
  t.equal(statSync(folder).mode & 0o777, 0o700);
  t.equal(statSync(list.path).mode & 0o777, 0o600);
  t.equal(statSync(`${list.path}.json`).mode & 0o777, 0o600);
  t.equal(server.requests[0]?.headers["user-agent"], "tidesman/1.2.3");
  t.strictSame(await fetchOne(list), { kind: "unchanged" });
  t.equal(server.requests[1]?.headers["if-modified-since"], "Mon, 23 Nov 2026 10:00:00 GMT");
  body = "new.example\n";
  t.match(await fetchOne(list), { kind: "changed" });
  t.equal(readFileSync(list.path, "utf8"), body);

  await t.test("a body that is not whole any more is fetched whole", async (t) => {
    writeFileSync(list.path, "half");
    t.match(await fetchOne(list), { kind: "changed" });
    t.equal(server.requests.at(-1)?.headers["if-none-match"], undefined);
    t.equal(readFileSync(list.path, "utf8"), body);
  });
  await t.test("so is one whose validators a crash cost, or left damaged", async (t) => {
    for (const spoil of [
      () => rmSync(`${list.path}.json`),
      () => writeFileSync(`${list.path}.json`, "{"),
      () => writeFileSync(`${list.path}.json`, "null"),
    ]) {
      spoil();
      t.match(await fetchOne(list), { kind: "changed" });
      t.equal(server.requests.at(-1)?.headers["if-none-match"], undefined);
    }
    t.strictSame(await fetchOne(list), { kind: "unchanged" });
  });
  await t.test("validators do not outlive the URL or the kind of credentials", async (t) => {
    const secret = { environment: "KEY" };
    const other = feed(folder, "a", {
      url: `${server.url}/list`,
      authentication: { kind: "header", name: "X-Key", prefix: "", secret },
    });
    t.strictSame(await fetchOne(other, { environment: { KEY: "k" } }), { kind: "unchanged" }, "equal bytes");
    t.equal(server.requests.at(-1)?.headers["if-none-match"], undefined);
    t.strictSame(await fetchOne(feed(folder, "a", { url: `${server.url}/elsewhere` })), {
      kind: "unchanged",
    });
    t.equal(server.requests.at(-1)?.headers["if-none-match"], undefined);
  });
  await t.test("drafts that a crash left are removed, those of other lists are not", async (t) => {
    for (const name of [".a.0123abcd.tmp", ".a.json.0123abcd.tmp", ".a.b.0123abcd.tmp"]) {
      writeFileSync(`${folder}/${name}`, "");
    }
    await fetchOne(list);
    t.strictSame(readdirSync(folder).sort(), [".a.b.0123abcd.tmp", "a", "a.json"]);
  });
});

t.test("a 304 that was not asked for is a failure", async (t) => {
  const server = await origin(t, (_request, response) => response.writeHead(304).end());
  t.match(failure(await fetchOne(feed(t.testdir(), "a", { url: server.url }))), "answered 304");
});

t.test("lists that share a URL are transferred once", async (t) => {
  const server = await origin(t, (request, response) => {
    if (request.headers["if-none-match"]) response.writeHead(304).end();
    else send(response, LIST, { etag: '"1"' });
  });
  const folder = t.testdir();
  const feeds = ["names", "addresses"].map((name) => feed(folder, name, { url: `${server.url}/l` }));
  const first = await fetchLists(feeds, OPTIONS);
  t.strictSame(
    [...first.values()].map(({ kind }) => kind),
    ["changed", "changed"],
  );
  t.equal(server.requests.length, 1);
  t.equal(readFileSync(`${folder}/names`, "utf8"), LIST);
  t.equal(readFileSync(`${folder}/addresses`, "utf8"), LIST);
  t.strictSame(
    [...(await fetchLists(feeds, OPTIONS)).values()].map(({ kind }) => kind),
    ["unchanged", "unchanged"],
  );
  rmSync(`${folder}/names`);
  const third = await fetchLists(feeds, OPTIONS);
  t.equal(server.requests.at(-1)?.headers["if-none-match"], undefined);
  t.equal(third.get("names")?.kind, "changed");
  t.equal(third.get("addresses")?.kind, "unchanged");
});

t.test("redirects", async (t) => {
  const other = await origin(t, (_request, response) => send(response, LIST));
  const server = await origin(t, (request, response) => {
    const path = request.url ?? "";
    const steps = Number(/^\/steps\/(\d+)/.exec(path)?.[1] ?? -1);
    const to =
      path === "/loop"
        ? "/loop"
        : path === "/away"
          ? `${other.url}/list?token=of-others`
          : path === "/ftp"
            ? "ftp://127.0.0.1/list"
            : path === "/bad"
              ? "http://["
              : steps > 0
                ? `/steps/${steps - 1}`
                : null;
    if (to === null) send(response, LIST);
    else response.writeHead(302, { location: to }).end("moved");
  });
  const folder = t.testdir();
  const at = (path: string) => fetchOne(feed(folder, "a", { url: `${server.url}${path}` }));
  t.match(await at("/steps/5"), { kind: "changed", url: `${server.url}/steps/0` });
  t.match(failure(await at("/steps/6")), "redirects more than 5 times");
  t.match(failure(await at("/loop")), "redirects more than 5 times");
  t.match(failure(await at("/ftp")), "neither http nor https");
  t.match(failure(await at("/bad")), "redirects to no URL");
  rmSync(`${folder}/a`);
  t.match(await at("/away"), { kind: "changed", url: `${other.url}/list` });
  t.equal(other.requests[0]?.url, "/list?token=of-others");
});

t.test("bodies that are no list leave the last one in place", async (t) => {
  const zeros = Buffer.alloc(MAX_UNPACKED + 1, "a");
  const bombs = new Map([
    ["gzip", gzipSync(zeros)],
    ["br", brotliCompressSync(zeros, { params: { 1: 1 } })],
    ["zstd", zstdCompressSync(zeros)],
  ]);
  const plain = Buffer.from(LIST.repeat(100));
  const answers: Record<string, (response: ServerResponse) => void> = {
    "/good": (response) => send(response, LIST),
    "/html": (response) => send(response, "<!doctype html><p>Sorry", { "content-type": "text/html" }),
    "/binary": (response) => send(response, Buffer.from("evil.example\n\0\0")),
    "/late-binary": (response) => send(response, Buffer.concat([plain, plain, plain, Buffer.of(0)])),
    "/long": (response) => send(response, Buffer.alloc(1_000_001, "a")),
    "/long-chunked": (response) => {
      response.write(Buffer.alloc(600_000, "a"));
      response.end(Buffer.alloc(600_000, "a"));
    },
    "/short": (response) => {
      response.writeHead(200, { "content-length": "100" });
      response.write("evil.example\n", () => response.destroy());
    },
    "/cut": (response) => response.write("evil.example\n", () => response.destroy()),
    "/cut-gzip": (response) =>
      send(response, gzipSync(plain).subarray(0, -4), { "content-encoding": "gzip" }),
    "/cut-list.gz": (response) => send(response, gzipSync(plain).subarray(0, -4)),
    "/no-gzip": (response) => send(response, LIST, { "content-encoding": "gzip" }),
    "/unknown": (response) => send(response, LIST, { "content-encoding": "compress" }),
    "/many": (response) => send(response, LIST, { "content-encoding": "gzip, gzip, gzip" }),
    "/partial": (response) => response.writeHead(206).end(LIST),
    "/list.gz": (response) => send(response, bombs.get("gzip") ?? ""),
    "/list.zst": (response) => send(response, bombs.get("zstd") ?? ""),
    "/list.br": (response) => send(response, bombs.get("br") ?? ""),
  };
  for (const [encoding, body] of bombs) {
    answers[`/bomb-${encoding}`] = (response) => send(response, body, { "content-encoding": encoding });
  }
  const server = await origin(t, (request, response) => answers[request.url ?? ""]?.(response));
  const folder = t.testdir();
  const at = (path: string) => fetchOne(feed(folder, "a", { url: `${server.url}${path}` }));
  t.match(await at("/good"), { kind: "changed" });
  for (const [path, message] of Object.entries({
    "/html": "a web page",
    "/binary": "binary",
    "/late-binary": "binary",
    "/long": "longer than 1000000 bytes",
    "/long-chunked": "longer than 1000000 bytes",
    "/short": "the connection was cut",
    "/cut": "the connection was cut",
    "/cut-gzip": "cut short or damaged",
    "/cut-list.gz": "cut short or damaged",
    "/no-gzip": "cut short or damaged",
    "/unknown": "unknown encoding `compress`",
    "/many": "more than 2 encodings",
    "/partial": "answered 206",
    "/bomb-gzip": "unpacks to more than",
    "/bomb-br": "unpacks to more than",
    "/bomb-zstd": "unpacks to more than",
    "/list.gz": "unpacks to more than",
    "/list.zst": "unpacks to more than",
    "/list.br": "unpacks to more than",
  })) {
    const said = failure(await at(path));
    t.ok(said.includes(message), `${path}: ${said}`);
    t.equal(readFileSync(`${folder}/a`, "utf8"), LIST);
    t.strictSame(readdirSync(folder).sort(), ["a", "a.json"]);
  }
});

t.test(
  "encodings are undone, packed lists stay packed but for brotli, and an empty body is handed on",
  async (t) => {
    const bodies: Record<string, readonly [Uint8Array, Record<string, string>, Uint8Array]> = {
      "/gzip": [gzipSync(LIST), { "content-encoding": "gzip" }, Buffer.from(LIST)],
      "/br": [brotliCompressSync(LIST), { "content-encoding": "br" }, Buffer.from(LIST)],
      "/zstd": [zstdCompressSync(LIST), { "content-encoding": "zstd" }, Buffer.from(LIST)],
      "/two": [brotliCompressSync(gzipSync(LIST)), { "content-encoding": "gzip, br" }, Buffer.from(LIST)],
      "/list.gz": [gzipSync(LIST), { "content-type": "application/gzip" }, gzipSync(LIST)],
      "/list.zst": [zstdCompressSync(LIST), {}, zstdCompressSync(LIST)],
      "/list.br": [brotliCompressSync(LIST), {}, Buffer.from(LIST)],
      "/encoded.br": [brotliCompressSync(LIST), { "content-encoding": "br" }, Buffer.from(LIST)],
      "/html-type": [Buffer.from(LIST), { "content-type": "text/html" }, Buffer.from(LIST)],
      "/empty": [Buffer.alloc(0), {}, Buffer.alloc(0)],
      "/empty-gzip": [
        Buffer.alloc(0),
        { "content-encoding": "gzip", "content-length": "0" },
        Buffer.alloc(0),
      ],
    };
    const server = await origin(t, (request, response) => {
      const [body, headers] = bodies[request.url ?? ""] ?? [new Uint8Array(), {}];
      send(response, body, headers);
    });
    for (const [path, [, , kept]] of Object.entries(bodies)) {
      const list = feed(t.testdir(), "a", { url: `${server.url}${path}` });
      rmSync(list.path, { force: true });
      rmSync(`${list.path}.json`, { force: true });
      t.match(await fetchOne(list), { kind: "changed", bytes: kept.length }, path);
      t.ok(readFileSync(list.path).equals(kept), path);
      t.strictSame(await fetchOne(list, { random: () => 0 }), { kind: "unchanged" }, path);
      t.strictSame(readdirSync(dirname(list.path)).sort(), ["a", "a.json"], path);
    }
  },
);

t.test("what may pass is tried again, what does not is not", async (t) => {
  let failing = 2;
  let status = 503;
  let headers: Record<string, string> = {};
  const server = await origin(t, (_request, response) => {
    if (failing-- > 0) response.writeHead(status, headers).end("no");
    else send(response, LIST);
  });
  const tries = async (count: number, code: number, extra: Record<string, string> = {}) => {
    failing = count;
    status = code;
    headers = extra;
    const before = server.requests.length;
    const list = feed(t.testdir(), "a", { url: server.url });
    return { outcome: await fetchOne(list), requests: server.requests.length - before };
  };
  for (const code of [408, 425, 429, 500, 502, 503]) {
    t.match(await tries(2, code), { requests: 3, outcome: { kind: /^(un)?changed$/ } }, `${code}`);
    const { outcome, requests } = await tries(9, code);
    t.equal(requests, 3, `${code}`);
    t.match(failure(outcome), `answered ${code}`);
  }
  for (const code of [400, 401, 403, 404, 410, 451]) t.equal((await tries(9, code)).requests, 1, `${code}`);
  t.match(await tries(9, 429, { "retry-after": "30" }), { requests: 3, outcome: { retryAfter: 30_000 } });
  t.match(await tries(9, 503, { "retry-after": "3600" }), {
    requests: 1,
    outcome: { retryAfter: 3_600_000 },
  });
  t.match(await tries(9, 503, { "retry-after": "soon" }), { requests: 3, outcome: { retryAfter: null } });
  const later = new Date(Date.now() + 7_200_000).toUTCString();
  const { outcome } = await tries(9, 429, { "retry-after": later });
  t.ok(outcome?.kind === "failed" && (outcome.retryAfter ?? 0) > 7_000_000);
});

t.test("attempts are spread in time, and Retry-After is waited for", async (t) => {
  const waits: number[] = [];
  const clock = {
    ...systemClock,
    after: (ms: number, callback: () => void) => {
      // Timeouts are a million and more.
      if (ms >= 1_000_000) return { cancel() {} };
      waits.push(ms);
      return systemClock.after(0, callback);
    },
  };
  let headers: Record<string, string> = {};
  const server = await origin(t, (_request, response) => response.writeHead(503, headers).end());
  const list = feed(t.testdir(), "a", { url: server.url });
  await fetchOne(list, { clock, random: () => 0 });
  await fetchOne(list, { clock, random: () => 0.75 });
  headers = { "retry-after": "10" };
  await fetchOne(list, { clock, random: () => 0 });
  t.strictSame(waits, [1000, 2000, 2500, 5000, 10_000, 10_000]);
});

t.test("slow servers", async (t) => {
  const server = await origin(t, (request, response) => {
    if (request.url === "/silent") return;
    response.write("evil.example\n");
    if (request.url === "/halt") return;
    const drip = setInterval(() => response.write("a.example\n"), 10);
    response.on("close", () => clearInterval(drip));
  });
  const at = (path: string, timeout: number, options = {}) =>
    fetchOne(feed(t.testdir(), "a", { url: `${server.url}${path}`, timeout }), options);
  t.match(failure(await at("/drip", 20_000)), "took more than 20 seconds");
  t.match(failure(await at("/silent", 20_000)), "took more than 20 seconds");
  // The whole time never ends here, so that what ends is the silence.
  const endless = {
    ...OPTIONS.clock,
    after: (ms: number, callback: () => void) =>
      ms < 1000 ? { cancel() {} } : OPTIONS.clock.after(ms, callback),
  };
  t.match(failure(await at("/silent", 100, { clock: endless })), "no answer came in time");
  t.match(failure(await at("/halt", 100, { clock: endless })), "the body came to a halt");
  t.strictSame(readdirSync(t.testdir()), []);
});

t.test("a run can be stopped, and tells how far it is", async (t) => {
  const stop = new AbortController();
  const progress: unknown[] = [];
  const server = await origin(t, (_request, response) => {
    response.writeHead(200, { "content-length": "100" });
    response.write("evil.example\n");
  });
  const outcome = await fetchOne(feed(t.testdir(), "a", { url: server.url }), {
    signal: stop.signal,
    onProgress: (...said) => {
      progress.push(said);
      stop.abort();
    },
  });
  t.strictSame(outcome, { kind: "failed", message: "fetching was stopped", retryAfter: null });
  t.strictSame(progress, [["a", 13, 100]]);
  t.strictSame(readdirSync(t.testdir()), []);
});

t.test("a folder that cannot be written is that feed's failure", async (t) => {
  const server = await origin(t, (_request, response) => send(response, LIST));
  const folder = t.testdir();
  mkdirSync(`${folder}/a`);
  writeFileSync(`${folder}/file`, "");
  const outcomes = await fetchLists(
    [
      feed(folder, "a", { url: `${server.url}/1` }),
      feed(`${folder}/file`, "b", { url: `${server.url}/2` }),
      feed(folder, "c", { url: `${server.url}/3` }),
    ],
    OPTIONS,
  );
  t.strictSame(
    [...outcomes].sort().map(([name, { kind }]) => `${name} ${kind}`),
    ["a failed", "b failed", "c changed"],
  );
  for (const name of ["a", "b"]) t.match(failure(outcomes.get(name)), /^it could not be stored: /);
  t.notOk(readdirSync(folder).some((name) => name.endsWith(".tmp")));
});

t.test(
  "a process that is killed in the middle of a body leaves the last one, and the next run its place",
  async (t) => {
    let half = false;
    const server = await origin(t, (_request, response) => {
      if (half) response.write("half.example\n");
      else send(response, LIST, { etag: '"1"' });
    });
    const folder = t.testdir();
    const list = feed(folder, "a", { url: server.url });
    await fetchOne(list);
    half = true;
    const world = new URL("fetch-world.ts", import.meta.url).href;
    const script = `
    import { fetchOne } from ${JSON.stringify(world)};
    await fetchOne(${JSON.stringify(list)}, { onProgress: () => setImmediate(() => console.log("some")) });
  `;
    const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    await once(child.stdout, "data");
    child.kill("SIGKILL");
    await once(child, "exit");
    t.equal(readFileSync(list.path, "utf8"), LIST);
    half = false;
    t.strictSame(await fetchOne(list), { kind: "unchanged" });
    t.strictSame(readdirSync(folder).sort(), ["a", "a.json"]);
  },
);
