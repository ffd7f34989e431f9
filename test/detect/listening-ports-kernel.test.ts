/** Listening ports on the real kernel: the sockets of every kind, and what a scan of many namespaces costs. */
import { statSync } from "node:fs";
import t from "tap";
import { formatAddress } from "../../src/address.ts";
import { ManualClock } from "../../src/clock.ts";
import { type Listener, ListeningPorts } from "../../src/detect/listening-ports.ts";
import { WatchedNamespaces } from "../../src/detect/sockets/namespaces.ts";
import { hostProcessTable } from "../../src/detect/sockets/processes.ts";
import { readListeners } from "../../src/native/listener-rows.ts";
import { loadNative } from "../../src/native/native.ts";
import { makeNamespace, sh } from "../native/namespace.ts";
import { perl, unable } from "./sockets-kernel.ts";

const ID = "a".repeat(64);
const NAMESPACES = 200;

function detector(namespaces: WatchedNamespaces, clock: ManualClock, told: Listener[]): ListeningPorts {
  const native = loadNative();
  return new ListeningPorts({
    interval: 10_000,
    udpSettle: 30_000,
    namespaces,
    list: (path) => native.listeners(path),
    read: readListeners,
    processes: hostProcessTable,
    clock,
    onListener: (listener) => told.push(listener),
    onFailure: (path, error) => t.fail(path, { error }),
  });
}

const SOCKETS = `
socket(A, PF_INET, SOCK_STREAM, 0); bind(A, sockaddr_in(8080, INADDR_ANY)) or die; listen(A, 5) or die;
socket(B, PF_INET6, SOCK_STREAM, 0); bind(B, sockaddr_in6(8081, Socket::inet_pton(AF_INET6, "::1"))) or die; listen(B, 5);
socket(C, PF_INET, SOCK_DGRAM, 0); bind(C, sockaddr_in(5353, INADDR_ANY)) or die;
socket(D, PF_INET6, SOCK_DGRAM, 0); bind(D, sockaddr_in6(5354, Socket::inet_pton(AF_INET6, "::"))) or die;
socket(E, PF_INET, SOCK_DGRAM, 0); bind(E, sockaddr_in(45000, INADDR_ANY)) or die;
socket(F, PF_INET, SOCK_DGRAM, 0); connect(F, sockaddr_in(53, inet_aton("127.0.0.1"))) or die;
socket(G, PF_INET, SOCK_STREAM, 0); bind(G, sockaddr_in(8082, INADDR_ANY)) or die;
socket(H, PF_INET, SOCK_DGRAM, 0); bind(H, sockaddr_in(41000, inet_aton("127.0.0.11"))) or die;
print "ready\\n"; sleep 60;`;

t.test("listeners of every kind are told with their process", { skip: unable() }, async (t) => {
  const name = makeNamespace(t, "listeners");
  const { pid } = await perl(t, name, SOCKETS);
  const clock = new ManualClock();
  const told: Listener[] = [];
  const namespaces = new WatchedNamespaces();
  namespaces.upsert({ id: ID, pid, networkNamespace: `/run/netns/${name}` });
  const ports = detector(namespaces, clock, told);
  const taken = (): string[] =>
    told.splice(0).map(({ protocol, address, port, process, container }) => {
      t.equal(container, ID);
      t.match(process, { pid, command: "perl" });
      return `${protocol} ${formatAddress(address)} ${port}`;
    });
  ports.scan();
  t.strictSame(taken().sort(), ["17 0.0.0.0 5353", "17 :: 5354", "6 0.0.0.0 8080", "6 ::1 8081"]);
  clock.advance(30_000);
  ports.scan();
  t.strictSame(taken(), ["17 0.0.0.0 45000"], "not the client, the unused, nor Docker's resolver");
});

t.test(`a look into ${NAMESPACES} namespaces costs little`, { skip: unable() }, async (t) => {
  t.setTimeout(60_000);
  const namespaces = new WatchedNamespaces();
  const names = Array.from({ length: NAMESPACES }, (_, index) => `tm-native-${process.pid}-scan${index}`);
  t.teardown(() => {
    for (const name of names) sh(`ip netns del ${name}`);
  });
  names.forEach((name, index) => {
    sh(`ip netns add ${name}`);
    const id = `${index}`.padStart(64, "a");
    namespaces.upsert({ id, pid: 0, networkNamespace: `/run/netns/${name}` });
  });
  t.ok(statSync(`/run/netns/${names[0]}`).ino > 0);
  const ports = detector(namespaces, new ManualClock(), []);
  ports.scan();
  const before = process.cpuUsage();
  const rounds = 5;
  for (let round = 0; round < rounds; round++) ports.scan();
  const { user, system } = process.cpuUsage(before);
  const cost = (user + system) / 1000 / rounds;
  t.comment(
    `${NAMESPACES} namespaces: ${cost.toFixed(1)} ms of CPU a look, ${(cost / 100).toFixed(2)} % of a core every 10 s`,
  );
});
