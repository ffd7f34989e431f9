import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { type AddressInfo, connect, createServer as createRawServer } from "node:net";
import dns2 from "dns2";
import t from "tap";
import { proxyFor } from "../../src/feed/fetch/proxy.ts";
import { fetchLists } from "../../src/feed/fetch.ts";
import { authority, failure, feed, fetchOne, OPTIONS, origin } from "./fetch-world.ts";

const LIST = "evil.example\n";

t.test("private authorities", async (t) => {
  const folder = t.testdir();
  const own = authority(folder);
  if (own === null) {
    t.pass("the authority", { skip: "openssl is not installed" });
    return;
  }
  const plain = await origin(t, (_request, response) => response.end(LIST));
  const server = await origin(
    t,
    (request, response) => {
      if (request.url === "/down") response.writeHead(302, { location: `${plain.url}/` }).end();
      else response.end(LIST);
    },
    own,
  );
  const up = await origin(t, (_request, response) => {
    response.writeHead(302, { location: `${server.url}/list` }).end();
  });
  t.match(await fetchOne(feed(folder, "a", { url: server.url, ca: own.ca })), { kind: "changed" });
  t.match(await fetchOne(feed(folder, "b", { url: up.url, ca: own.ca })), {
    kind: "changed",
    url: `${server.url}/list`,
  });
  const before = server.requests.length;
  t.match(failure(await fetchOne(feed(folder, "c", { url: server.url }))), "is not trusted");
  t.equal(server.requests.length, before);
  t.match(
    failure(await fetchOne(feed(folder, "c", { url: `${server.url}/down`, ca: own.ca }))),
    "from https to http",
  );
  t.equal(plain.requests.length, 0);
  const wrongName = feed(folder, "c", { url: `https://localhost:${server.port}/`, ca: own.ca });
  t.match(failure(await fetchOne(wrongName)), "is not trusted");
  writeFileSync(`${folder}/no.pem`, "nothing");
  for (const [ca, message] of [
    [`${folder}/no.pem`, "has no certificate in PEM form"],
    [`${folder}/none.pem`, "cannot be read (ENOENT)"],
  ] as const) {
    const said = failure(await fetchOne(feed(folder, "c", { url: server.url, ca })));
    t.ok(said.includes(ca) && said.includes(message), said);
  }
});

t.test("names are resolved by the servers that are named", async (t) => {
  const asked: string[] = [];
  const server = dns2.createServer({
    udp: true,
    handle: (request, send) => {
      const response = dns2.Packet.createResponseFromRequest(request);
      const [question] = request.questions;
      if (question !== undefined) {
        asked.push(question.name);
        if (question.type === dns2.Packet.TYPE.AAAA && question.name === "six.lists.test") {
          const answer = new dns2.Packet.Resource(
            question.name,
            dns2.Packet.TYPE.AAAA,
            dns2.Packet.CLASS.IN,
            60,
          );
          response.answers.push(Object.assign(answer, { address: "0:0:0:0:0:0:0:1" }));
        } else if (question.type === dns2.Packet.TYPE.A && question.name.startsWith("lists.")) {
          const answer = new dns2.Packet.Resource(
            question.name,
            dns2.Packet.TYPE.A,
            dns2.Packet.CLASS.IN,
            60,
          );
          response.answers.push(Object.assign(answer, { address: "127.0.0.1" }));
        }
      }
      send(response);
    },
  });
  const { udp } = await server.listen({ udp: { port: 0, address: "127.0.0.1" } });
  t.teardown(() => server.close());
  const servers = [`127.0.0.1:${(udp as AddressInfo).port}`];
  const lists = await origin(t, (_request, response) => response.end(LIST));
  const folder = t.testdir();
  t.match(await fetchOne(feed(folder, "a", { url: `http://lists.test:${lists.port}/` }), { servers }), {
    kind: "changed",
  });
  t.ok(asked.includes("lists.test"));
  t.equal(lists.requests[0]?.headers.host, `lists.test:${lists.port}`);
  t.match(failure(await fetchOne(feed(folder, "b", { url: "http://none.test/" }), { servers })), "none.test");
  t.match(await fetchOne(feed(folder, "c", { url: `${lists.url}/` }), { servers }), { kind: "changed" });

  await t.test("to addresses of either family", async (t) => {
    const six = createServer((_request, response) => response.end(LIST));
    const bound = await new Promise<boolean>((resolve) => {
      six.once("error", () => resolve(false)).listen(0, "::1", () => resolve(true));
    });
    if (!bound) {
      t.pass("IPv6", { skip: "this host has no IPv6 loopback address" });
      return;
    }
    t.teardown(() => {
      six.closeAllConnections();
      six.close();
    });
    const { port } = six.address() as AddressInfo;
    for (const host of ["six.lists.test", "[::1]"]) {
      const list = feed(t.testdir(), "a", { url: `http://${host}:${port}/` });
      t.match(await fetchOne(list, { servers }), { kind: "changed" }, host);
    }
  });
  await t.test("also that of the proxy", async (t) => {
    const environment = { http_proxy: `http://lists.proxy.test:${lists.port}` };
    const through = await fetchOne(feed(folder, "d", { url: "http://far.test/list" }), {
      servers,
      environment,
    });
    t.match(through, { kind: "changed" });
    t.equal(lists.requests.at(-1)?.url, "http://far.test/list");
    t.notOk(asked.includes("far.test"), "what the proxy resolves, we do not");
  });
});

t.test("proxies", async (t) => {
  const folder = t.testdir();
  const own = authority(folder);
  const lists = await origin(t, (_request, response) => response.end(LIST));
  const secure = own === null ? null : await origin(t, (_request, response) => response.end(LIST), own);
  const seen: string[] = [];
  const refuse = { status: 0 };
  const proxy: Server = createServer((request, response) => {
    seen.push(`${request.method} ${request.url} ${request.headers["proxy-authorization"] ?? ""}`);
    if (refuse.status > 0) response.writeHead(refuse.status).end();
    else response.end("through.proxy.example\n");
  });
  proxy.on("connect", (request, socket) => {
    seen.push(`CONNECT ${request.url}`);
    socket.on("error", () => {});
    if (refuse.status > 0) {
      socket.end(`HTTP/1.1 ${refuse.status} No\r\n\r\n`);
      return;
    }
    const onward = connect(secure?.port ?? 0, "127.0.0.1", () => {
      socket.write("HTTP/1.1 200 Connection established\r\n\r\n");
      onward.pipe(socket).pipe(onward);
    });
    onward.on("error", () => socket.destroy());
  });
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  t.teardown(() => {
    proxy.closeAllConnections();
    proxy.close();
  });
  const at = `127.0.0.1:${(proxy.address() as AddressInfo).port}`;
  t.match(
    await fetchOne(feed(folder, "a", { url: `${lists.url}/list` }), {
      environment: { HTTP_PROXY: `http://user:pa%20ss@${at}` },
    }),
    { kind: "changed" },
  );
  t.equal(readFileSync(`${folder}/a`, "utf8"), "through.proxy.example\n");
  const basic = Buffer.from("user:pa ss").toString("base64");
  t.strictSame(seen, [`GET ${lists.url}/list Basic ${basic}`]);
  t.match(
    await fetchOne(feed(folder, "a", { url: `${lists.url}/list` }), {
      environment: { http_proxy: at, no_proxy: "example.com,127.0.0.0/8" },
    }),
    { kind: "changed" },
  );
  t.equal(readFileSync(`${folder}/a`, "utf8"), LIST);
  const bad = await fetchOne(feed(folder, "b", { url: lists.url }), {
    environment: { http_proxy: "socks5://x:1" },
  });
  t.match(failure(bad), "proxy that the environment names");
  refuse.status = 403;
  const refused = { environment: { http_proxy: at, https_proxy: at } };
  t.match(failure(await fetchOne(feed(folder, "b", { url: lists.url }), refused)), "403");
  t.match(
    failure(await fetchOne(feed(folder, "b", { url: "https://lists.test/" }), refused)),
    "answered 403",
  );
  refuse.status = 407;
  t.match(failure(await fetchOne(feed(folder, "b", { url: lists.url }), refused)), "answered 407");
  refuse.status = 0;
  if (own === null) {
    t.pass("the authority", { skip: "openssl is not installed" });
    return;
  }
  t.match(
    await fetchOne(feed(folder, "c", { url: "https://lists.test/list", ca: own.ca }), {
      environment: { https_proxy: `http://${at}` },
    }),
    { kind: "changed", url: "https://lists.test/list" },
  );
  t.equal(seen.at(-1), "CONNECT lists.test:443");
});

t.test("which proxy", async (t) => {
  const environment = { http_proxy: "http://a:1", HTTPS_PROXY: "b:2" };
  const of = (url: string, no = "") => proxyFor(new URL(url), { ...environment, NO_PROXY: no });
  t.equal(of("http://x.example/"), "http://a:1");
  t.equal(of("https://x.example/"), "http://b:2");
  t.equal(proxyFor(new URL("https://x.example/"), { http_proxy: "http://a:1" }), null);
  t.equal(proxyFor(new URL("http://x.example/"), { http_proxy: "", HTTP_PROXY: "http://c:3" }), "http://c:3");
  for (const [url, no, exempt] of [
    ["http://x.example/", "*", true],
    ["http://x.example/", "other.example, x.EXAMPLE", true],
    ["http://x.example./", "x.example", true],
    ["http://www.x.example/", "x.example", true],
    ["http://www.x.example/", ".x.example", true],
    ["http://x.example/", ".x.example", true],
    ["http://x.example/", "*.x.example", false],
    ["http://www.x.example/", "*.x.example", true],
    ["http://notx.example/", "x.example", false],
    ["http://x.example/", "x.example:80", true],
    ["http://x.example/", "x.example:8080", false],
    ["https://x.example:8443/", "x.example:8443", true],
    ["http://10.1.2.3/", "10.0.0.0/8", true],
    ["http://10.1.2.3/", "10.1.2.3", true],
    ["http://10.1.2.3/", "10.1.2.3:81", false],
    ["http://10.1.2.3/", "10.1.2", false],
    ["http://10.1.2.3/", "10.0.0.0/99 2001:db8::/32", false],
    ["http://[2001:db8::1]/", "2001:db8::/32", true],
    ["http://[2001:db8::1]/", "2001:db8:0::1", true],
    ["http://[2001:db8::1]:81/", "[2001:db8::1]:81", true],
    ["http://[2001:db8::1]/", "[2001:db8::1]:81", false],
    ["http://x.example/", ", ,", false],
  ] as const) {
    t.equal(of(url, no) === null, exempt, `${url} with ${no}`);
  }
});

t.test("one transfer at a time per host, few hosts at once", async (t) => {
  const hosts = [1, 2, 3, 4, 5, 6].map((last) => `127.0.0.${last}`);
  const busy = new Map<string, number>();
  let mostOfHost = 0;
  let mostHosts = 0;
  const held: (() => void)[] = [];
  const server = createServer((request, response) => {
    const host = request.headers.host ?? "";
    busy.set(host, (busy.get(host) ?? 0) + 1);
    mostOfHost = Math.max(mostOfHost, ...busy.values());
    mostHosts = Math.max(mostHosts, [...busy.values()].filter((count) => count > 0).length);
    held.push(() => {
      busy.set(host, (busy.get(host) ?? 1) - 1);
      response.end(LIST);
    });
    // Answers begin when no more hosts may be talked to; after that each makes room for one.
    if (held.length === 4) for (const go of held.splice(0)) go();
    else if (total - done <= 4) for (const go of held.splice(0)) go();
    done += 1;
  });
  let done = 0;
  const total = hosts.length * 2;
  await new Promise<void>((resolve) => server.listen(0, "0.0.0.0", resolve));
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  const folder = t.testdir();
  const feeds = hosts.flatMap((host, index) =>
    ["a", "b"].map((path) => feed(folder, `${path}${index}`, { url: `http://${host}:${port}/${path}` })),
  );
  const outcomes = await fetchLists(feeds, OPTIONS);
  t.ok([...outcomes.values()].every(({ kind }) => kind === "changed"));
  t.equal(mostOfHost, 1);
  t.equal(mostHosts, 4);
});

t.test("a host that does not answer", async (t) => {
  const server = await origin(t, (request) => request.socket.destroy());
  t.match(failure(await fetchOne(feed(t.testdir(), "a", { url: server.url }))), "the connection was cut");
  t.equal(server.requests.length, 3);
  const gone = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => gone.once("listening", resolve));
  const { port } = gone.address() as AddressInfo;
  await new Promise((resolve) => gone.close(resolve));
  t.match(
    failure(await fetchOne(feed(t.testdir(), "a", { url: `http://127.0.0.1:${port}/` }))),
    "the connection was refused (ECONNREFUSED)",
  );
});

t.test("answers that are no HTTP, or contradict themselves", async (t) => {
  const answers: Readonly<Record<string, string>> = {
    "no HTTP": "SSH-2.0-server\r\n",
    "two lengths": "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nevil.e",
    "a length and chunks":
      "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "no last chunk": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nevil.\r\n",
    "no size of a chunk": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nevil",
    "endless headers": `HTTP/1.1 200 OK\r\nX: ${"a".repeat(1_000_000)}\r\n\r\n`,
    "nothing after all": "HTTP/1.1 100 Continue\r\n\r\n",
  };
  for (const [what, text] of Object.entries(answers)) {
    const server = createRawServer((socket) => {
      socket.on("error", () => {});
      socket.once("data", () => socket.end(text));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    const folder = t.testdir();
    const said = failure(await fetchOne(feed(folder, "a", { url: `http://127.0.0.1:${port}/` })));
    t.match(
      said,
      /^`127\.0\.0\.1:\d+`.* (?:does not speak HTTP|was announced|was cut|too long)|does not speak HTTP/,
      what,
    );
    t.strictSame(readdirSync(folder), [], what);
    await new Promise((resolve) => server.close(resolve));
  }
});
