/** The real probe, against servers on loopback. */
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { systemHost } from "../../src/doctor/system-host.ts";

const host = systemHost(() => 0.25);

t.test("an upstream is asked for the root; a strange id is no answer; a closed port is told", async (t) => {
  const server = createSocket("udp4");
  server.on("message", (query, { port, address }) => {
    t.equal(query.readUInt16BE(0), 0x4000);
    t.strictSame([...query.subarray(12)], [0, 0, 2, 0, 1], "the root, NS, IN");
    const answer = Buffer.from(query);
    answer.writeUInt16BE(1, 0);
    server.send(answer, port, address);
    answer.writeUInt16BE(0x4000, 0);
    server.send(answer, port, address);
  });
  server.bind(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  t.equal(await host.ask({ address: "127.0.0.1", port }), null);
  server.close();
  await once(server, "close");
  t.equal(await host.ask({ address: "127.0.0.1", port }), "ECONNREFUSED");
});

t.test("an engine says its version; what is none, or not there, is told", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "tm-doctor-"));
  const socket = join(folder, "s");
  let body = '{"Version":"27.0.1","ApiVersion":"1.46"}';
  const server = createServer(({ url }, response) => {
    response.statusCode = url === "/version" ? 200 : 404;
    response.end(body);
  }).listen(socket);
  t.teardown(() => {
    server.close();
    rmSync(folder, { recursive: true, force: true });
  });
  await once(server, "listening");
  t.strictSame(await host.engine(socket, "/version"), { value: { Version: "27.0.1", ApiVersion: "1.46" } });
  t.match(await host.engine(socket, "/other"), { error: /status 404/ });
  body = "<html>";
  t.match(await host.engine(socket, "/version"), { error: /no container engine/ });
  t.strictSame(await host.engine(join(folder, "none"), "/version"), { error: "ENOENT" });
});

t.test("files, space and access", async (t) => {
  t.match(host.read("/proc/self/status"), /^CapEff:/m);
  t.equal(host.read("/nowhere"), null);
  t.ok((host.space("/nowhere/at/all")?.total ?? 0) > 0, "of the nearest folder that exists");
  t.equal(host.access("/nowhere"), "absent");
  t.equal(host.access(tmpdir()), "writable");
  t.type(host.kernelShortcomings().length, "number");
});
