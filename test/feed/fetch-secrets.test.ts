import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import t from "tap";
import { fetchLists } from "../../src/feed/fetch.ts";
import type { Authentication } from "../../src/feed/types.ts";
import { failure, feed, fetchOne, OPTIONS, origin } from "./fetch-world.ts";

/** Has every character that some encoding changes. */
const SECRET = 's3cr&t/k"e y+=%';
const FORMS = [
  SECRET,
  encodeURIComponent(SECRET),
  new URLSearchParams([["", SECRET]]).toString().slice(1),
  JSON.stringify(SECRET).slice(1, -1),
  Buffer.from(SECRET).toString("base64"),
  Buffer.from(`user:${SECRET}`).toString("base64"),
];
const ENVIRONMENT = { LIST_KEY: SECRET };
const secret = { environment: "LIST_KEY" };
const WAYS = {
  header: { kind: "header", name: "Auth-Key", prefix: "Bearer ", secret },
  query: { kind: "query", name: "key", secret },
  basic: { kind: "basic", user: "user", secret },
} as const satisfies Record<string, Authentication>;

/** Everything in a folder that has the secret in some form. */
function leaks(folder: string): readonly string[] {
  return readdirSync(folder).filter((name) => {
    const text = readFileSync(`${folder}/${name}`, "latin1");
    return FORMS.some((form) => text.includes(form) || name.includes(form));
  });
}

t.test("a secret goes to its origin, and nowhere else", async (t) => {
  const other = await origin(t, (_request, response) => response.end("evil.example\n"));
  for (const [way, authentication] of Object.entries(WAYS)) {
    await t.test(way, async (t) => {
      const bearers: boolean[] = [];
      const server = await origin(t, (request, response) => {
        const url = new URL(request.url ?? "", "http://x");
        const given =
          request.headers["auth-key"] === `Bearer ${SECRET}` ||
          url.searchParams.get("key") === SECRET ||
          request.headers.authorization === `Basic ${FORMS.at(-1)}`;
        bearers.push(given);
        const leak = encodeURIComponent(SECRET);
        const to: Record<string, string> = {
          "/near": "/list",
          "/away": `${other.url}/list`,
          "/away-with-it": `${other.url}/list?key=${leak}&x=${leak}&y=1`,
          "/away-in-path": `${other.url}/${leak}/list`,
          "/home": `${other.url}/back`,
        };
        const location = to[url.pathname];
        if (url.pathname === "/echo") response.writeHead(404, `no ${way}`).end(SECRET);
        else if (location === undefined) response.writeHead(200, { etag: `"${leak}"` }).end("evil.example\n");
        else response.writeHead(302, { location }).end();
      });
      const folder = t.testdir();
      const said: unknown[] = [];
      const at = async (path: string) => {
        const outcome = await fetchOne(feed(folder, "a", { url: `${server.url}${path}`, authentication }), {
          environment: ENVIRONMENT,
        });
        said.push(outcome);
        return outcome;
      };
      t.match(await at("/list"), { kind: "changed", url: `${server.url}/list` });
      t.match(await at("/near"), { kind: "unchanged" });
      t.ok(
        bearers.every((given) => given),
        "with every request to its origin",
      );
      const before = other.requests.length;
      t.match(await at("/away"), { kind: "unchanged" });
      t.match(await at("/away-with-it"), { kind: "unchanged" });
      t.equal(other.requests.at(-1)?.url, "/list?y=1");
      t.match(failure(await at("/away-in-path")), "with the secret in the URL");
      t.match(failure(await at("/echo")), "answered 404");
      t.equal(other.requests.length, before + 2);
      for (const request of other.requests) {
        const text = JSON.stringify([request.url, request.rawHeaders]);
        t.notOk(FORMS.some((form) => text.includes(form)));
      }
      t.notOk(
        FORMS.some((form) => JSON.stringify(said).includes(form)),
        JSON.stringify(said),
      );
      t.strictSame(leaks(folder), []);
    });
  }
});

t.test("it does not come back on the way home", async (t) => {
  let home = "";
  const other = await origin(t, (_request, response) => response.writeHead(302, { location: home }).end());
  const server = await origin(t, (request, response) => {
    if (request.url === "/home") response.end("evil.example\n");
    else response.writeHead(302, { location: other.url }).end();
  });
  home = `${server.url}/home`;
  const authentication: Authentication = { kind: "header", name: "auth-key", prefix: "", secret };
  await fetchOne(feed(t.testdir(), "a", { url: `${server.url}/away`, authentication }), {
    environment: ENVIRONMENT,
  });
  t.strictSame(
    server.requests.map(({ headers }) => headers["auth-key"]),
    [SECRET, undefined],
  );
});

t.test("a secret in an error stays out of the message", async (t) => {
  const server = await origin(t, (request, response) => {
    const type = request.url?.startsWith("/type")
      ? `text/${Buffer.from(SECRET).toString("base64")}`
      : "application/json";
    response.writeHead(200, { "content-type": type });
    response.end(`${SECRET} is your key`);
  });
  for (const path of ["/type", "/body"]) {
    const list = feed(t.testdir(), "a", {
      protocol: "taxii",
      url: `${server.url}${path}`,
      authentication: WAYS.header,
    });
    const said = failure(await fetchOne(list, { environment: ENVIRONMENT }));
    t.match(said, /not JSON|cut short or damaged/);
    t.notOk(
      FORMS.some((form) => said.includes(form)),
      said,
    );
  }
});

t.test("a secret that is missing is named by its place", async (t) => {
  const server = await origin(t, (_request, response) => response.end("evil.example\n"));
  const folder = t.testdir({ good: `${SECRET}\r\n`, empty: "\n", odd: "two\nlines" });
  const at = (from: { file: string } | { environment: string }) =>
    fetchOne(
      feed(folder, "a", {
        url: server.url,
        authentication: { kind: "header", name: "auth-key", prefix: "", secret: from },
      }),
      { environment: { EMPTY: "" } },
    );
  t.match(await at({ file: `${folder}/good` }), { kind: "changed" });
  t.equal(server.requests[0]?.headers["auth-key"], SECRET);
  for (const [from, message] of [
    [{ file: `${folder}/none` }, `its secret cannot be read from the file \`${folder}/none\` (ENOENT)`],
    [{ file: `${folder}/empty` }, `its secret is missing: the file \`${folder}/empty\` is empty`],
    [
      { file: `${folder}/odd` },
      `its secret in the file \`${folder}/odd\` has characters that a header cannot carry`,
    ],
    [{ environment: "NONE" }, "its secret is missing: the environment variable `NONE` is not set"],
    [{ environment: "EMPTY" }, "its secret is missing: the environment variable `EMPTY` is empty"],
  ] as const) {
    t.equal(failure(await at(from)), message);
  }
  t.equal(server.requests.length, 1);
  writeFileSync(`${folder}/good`, "rotated\n");
  await at({ file: `${folder}/good` });
  t.equal(server.requests.at(-1)?.headers["auth-key"], "rotated", "read anew by every run");
});

t.test("one feed without its secret does not keep others back", async (t) => {
  const server = await origin(t, (_request, response) => response.end("evil.example\n"));
  const folder = t.testdir();
  const outcomes = await fetchLists(
    [
      feed(folder, "a", { url: server.url, authentication: WAYS.basic }),
      feed(folder, "b", { url: server.url }),
    ],
    OPTIONS,
  );
  t.match(Object.fromEntries(outcomes), { a: { kind: "failed" }, b: { kind: "changed" } });
});
