/** What whoever holds a feed's server may try. */
import { readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import dns2 from "dns2";
import fc from "fast-check";
import t, { type Test } from "tap";
import { depthOf, depthOfHost } from "../../src/feed/fetch/reach.ts";
import { failure, feed, fetchOne, origin } from "./fetch-world.ts";

const LIST = "evil.example\n";

t.test("how far inside an address lies", async (t) => {
  for (const [depth, ...addresses] of [
    [0, "192.0.2.1", "8.8.8.8", "2001:db8::1", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"],
    [1, "10.0.0.1", "172.31.255.255", "192.168.1.1", "100.100.100.200", "192.0.0.192", "fd00:ec2::254"],
    [1, "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::1", "224.0.0.1", "ff02::1", "255.255.255.255"],
    [2, "127.0.0.1", "127.255.255.255", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1", "64:ff9b::7f00:1"],
    [2, "::7f00:1", "2002:7f00:1::"],
    [3, "169.254.169.254", "fe80::1", "fe80::1%eth0", "::ffff:169.254.169.254", "2002:a9fe:a9fe::", "none"],
  ] as const) {
    for (const address of addresses) t.equal(depthOf(address), depth, address);
  }
  for (const host of ["localhost", "a.localhost", "localhost.", "[::1]", "127.0.0.1"]) {
    t.equal(depthOfHost(host), 2, host);
  }
  t.equal(depthOfHost("lists.example"), null);
  // Whatever way a URL writes this host, it is found.
  fc.assert(
    fc.property(
      fc.nat(0xffffff),
      (rest) => depthOfHost(new URL(`http://${0x7f000000 + rest}/`).hostname) === 2,
    ),
  );
});

/** A proxy that answers for every host but those of loopback: servers of the Internet, as far as we can tell. */
async function internet(t: Test, answers: Readonly<Record<string, string>>) {
  const proxy: Server = createServer((request, response) => {
    const location = answers[request.url ?? ""];
    if (location === undefined) response.end(LIST);
    else response.writeHead(302, { location }).end();
  });
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  t.teardown(() => {
    proxy.closeAllConnections();
    proxy.close();
  });
  const { port } = proxy.address() as AddressInfo;
  return { http_proxy: `http://127.0.0.1:${port}`, no_proxy: "127.0.0.1,localhost,inside.test" };
}

t.test("a server of the Internet sends nobody to this host or the networks around it", async (t) => {
  const inside = await origin(t, (_request, response) => response.end(LIST));
  const targets = [
    `${inside.url}/api`,
    `http://localhost:${inside.port}/api`,
    `http://2130706433:${inside.port}/api`,
    `http://[::ffff:127.0.0.1]:${inside.port}/api`,
    "http://169.254.169.254/latest/meta-data/",
    "http://10.0.0.1/",
    "http://[fd00:ec2::254]/",
  ];
  const hops = Object.fromEntries(targets.map((target, index) => [`http://lists.test/${index}`, target]));
  const environment = await internet(t, {
    ...hops,
    "http://lists.test/far": "http://other.test/list",
    "http://lists.test/long": "http://other.test/on",
    "http://other.test/on": targets[0]!,
  });
  const folder = t.testdir();
  for (const url of [...Object.keys(hops), "http://lists.test/long"]) {
    const said = failure(await fetchOne(feed(folder, "a", { url }), { environment }));
    t.match(said, /^a redirect leads to `[^`]+`.*further inside/, url);
  }
  t.equal(inside.requests.length, 0);
  t.match(await fetchOne(feed(folder, "a", { url: "http://lists.test/far" }), { environment }), {
    kind: "changed",
  });
  t.match(await fetchOne(feed(folder, "b", { url: `${inside.url}/` }), { environment }), { kind: "changed" });
  t.equal(inside.requests.length, 1, "the operator may name this host");
});

/** A server of names: those of `addresses`, IPv4. */
async function nameServer(t: Test, addresses: Readonly<Record<string, string>>): Promise<readonly string[]> {
  const server = dns2.createServer({
    udp: true,
    handle: (request, send) => {
      const response = dns2.Packet.createResponseFromRequest(request);
      const [question] = request.questions;
      const address = question?.type === dns2.Packet.TYPE.A ? addresses[question.name] : undefined;
      if (question !== undefined && address !== undefined) {
        const { A } = dns2.Packet.TYPE;
        const answer = new dns2.Packet.Resource(question.name, A, dns2.Packet.CLASS.IN, 60);
        response.answers.push(Object.assign(answer, { address }));
      }
      send(response);
    },
  });
  const { udp } = await server.listen({ udp: { port: 0, address: "127.0.0.1" } });
  t.teardown(() => server.close());
  return [`127.0.0.1:${(udp as AddressInfo).port}`];
}

t.test("what a name leads to counts, when it is connected to", async (t) => {
  const inside = await origin(t, (request, response) => {
    if (request.url === "/around")
      response.writeHead(302, { location: `http://here.test:${inside.port}/` }).end();
    else response.end(LIST);
  });
  const names = { "inside.test": "127.0.0.1", "here.test": "127.0.0.1", "link.test": "169.254.169.254" };
  const servers = await nameServer(t, names);
  const environment = await internet(t, { "http://lists.test/": `http://inside.test:${inside.port}/` });
  const folder = t.testdir();
  const far = feed(folder, "a", { url: "http://lists.test/" });
  const said = failure(await fetchOne(far, { environment, servers }));
  t.match(said, /^a redirect leads to `inside\.test` \(`127\.0\.0\.1`\), which is further inside/);
  t.equal(inside.requests.length, 0);

  const near = feed(folder, "b", { url: `http://inside.test:${inside.port}/around` });
  t.match(await fetchOne(near, { servers }), { kind: "changed" }, "a server of this host leads to this host");
  const link = feed(folder, "c", { url: "http://link.test/latest/" });
  t.match(
    failure(await fetchOne(link, { servers })),
    /^`link\.test` \(`169\.254\.169\.254`\) is a link-local address/,
  );
});

t.test("a server on this host sends us around on it, and not to the link", async (t) => {
  const other = await origin(t, (_request, response) => response.end(LIST));
  const server = await origin(t, (request, response) => {
    const location = request.url === "/near" ? other.url : "http://169.254.169.254/latest/";
    response.writeHead(302, { location }).end();
  });
  const folder = t.testdir();
  t.match(await fetchOne(feed(folder, "a", { url: `${server.url}/near` })), { kind: "changed" });
  t.match(
    failure(await fetchOne(feed(folder, "a", { url: `${server.url}/link` }))),
    /169\.254\.169\.254.*further/,
  );
});

t.test("a validator that is too long to be sent back is not kept", async (t) => {
  const server = await origin(t, (request, response) => {
    if (request.headers["if-none-match"] !== undefined) response.writeHead(431).end();
    else response.writeHead(200, { etag: `"${"a".repeat(8000)}"` }).end(LIST);
  });
  const list = feed(t.testdir(), "a", { url: server.url });
  t.match(await fetchOne(list), { kind: "changed" });
  t.match(await fetchOne(list), { kind: "unchanged" });
  t.equal(JSON.parse(readFileSync(`${list.path}.json`, "utf8")).etag, null);
});

t.test("what a server says is one line of plain characters, and short", async (t) => {
  const server = await origin(t, (request, response) => {
    const long = `/${"x".repeat(4000)}`;
    if (request.url === "/path") response.writeHead(302, { location: long }).end();
    else if (request.url === long) response.writeHead(404).end();
    else {
      response.writeHead(200, { "content-type": "application/json" });
      response.end(`{"objects": [${" ".repeat(5000)}\u001b[2J\u202e\u0085\n]}`);
    }
  });
  const said = [
    failure(await fetchOne(feed(t.testdir(), "a", { url: `${server.url}/path` }))),
    failure(await fetchOne(feed(t.testdir(), "b", { url: server.url, protocol: "taxii" }))),
  ];
  for (const message of said) {
    t.match(message, /^[\x20-\x7e]+$/);
    t.ok(message.length < 700, message);
  }
});
