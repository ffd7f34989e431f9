import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { bridgeOf, guardedNetworks } from "../../src/container/bridge.ts";
import { decodeContainer, decodeContainers, decodeNetwork } from "../../src/container/engine.ts";
import { imageFacts } from "../../src/container/image.ts";
import { Namespaces } from "../../src/container/namespaces.ts";
import { HostLinks } from "../../src/container/veth.ts";
import type { Link } from "../../src/native/types.ts";
import { normalizeImage } from "../../src/policy/rules.ts";

const link = (index: number, name: string, more: Partial<Link> = {}): Link => ({
  index,
  name,
  peer: 0,
  master: 0,
  kind: "veth",
  up: true,
  hardwareAddress: "",
  addresses: [],
  ...more,
});

t.test("both ends of a veth must name each other", async (t) => {
  const host = new HostLinks([
    link(1, "lo", { kind: "" }),
    link(3, "docker0", { kind: "bridge" }),
    link(9, "veth9", { peer: 8, master: 3 }),
    link(11, "veth11", { peer: 4, master: 3 }),
  ]);
  const inside = [
    link(1, "lo", { kind: "" }),
    link(8, "eth0", {
      peer: 9,
      hardwareAddress: "02:42:AC:11:00:02",
      addresses: ["172.17.0.2/16", "FE80::1/64"],
    }),
    // A nested container's: its peer has the index of one of our interfaces, but that one's is another.
    link(5, "veth5", { peer: 11, master: 6 }),
    link(7, "veth7", { peer: 11 }),
    link(12, "eth1", { peer: 99 }),
  ];
  t.same(host.pairs(inside), [
    {
      index: 9,
      name: "veth9",
      bridge: "docker0",
      hardwareAddress: "02:42:ac:11:00:02",
      addresses: ["172.17.0.2", "fe80::1"],
    },
  ]);
});

t.test("the bridge of a network", async (t) => {
  const host = new HostLinks([
    link(2, "docker0", { kind: "bridge" }),
    link(3, "br-0123456789ab", { kind: "bridge" }),
    link(4, "br-mine", { kind: "bridge" }),
    link(5, "podman1", { kind: "bridge", addresses: ["10.89.0.1/24", "2001:db8:9::1/64"] }),
    link(6, "br-ffffffffffff", { kind: "veth" }),
  ]);
  const network = (more: Record<string, unknown>) =>
    decodeNetwork({ Id: "0123456789abcdef", Name: "n", Driver: "bridge", ...more });
  t.equal(bridgeOf(network({}), host), "br-0123456789ab");
  t.equal(bridgeOf(network({ Options: { "com.docker.network.bridge.name": "br-mine" } }), host), "br-mine");
  t.equal(bridgeOf(network({ Id: "aa", Name: "bridge" }), host), "docker0");
  t.equal(bridgeOf(network({ Id: "aa", IPAM: { Config: [{ Subnet: "10.89.0.0/24" }] } }), host), "podman1");
  t.equal(
    bridgeOf(network({ Id: "aa", IPAM: { Config: [{ Subnet: "2001:db8:9::/64" }] } }), host),
    "podman1",
  );
  t.equal(bridgeOf(network({ Id: "ffffffffffffff" }), host), "", "a link of that name that is no bridge");
  for (const driver of ["host", "null", "macvlan", "ipvlan", "overlay"]) {
    t.equal(bridgeOf(network({ Driver: driver }), host), "", driver);
  }
  const guarded = guardedNetworks(
    [network({ Name: "z" }), network({ Id: "aa", Name: "bridge" }), network({ Id: "ee" })],
    host,
  );
  t.same(
    guarded.map(({ name, bridge }) => [name, bridge]),
    [
      ["bridge", "docker0"],
      ["z", "br-0123456789ab"],
    ],
  );
});

t.test("image facts", async (t) => {
  const id = `sha256:${"1c969b95".repeat(8)}`;
  const digest = `sha256:${"ab".repeat(32)}`;
  const other = `sha256:${"00".repeat(32)}`;
  const detail = { id, tags: ["nginx:1.27"], digests: [`mirror.example/nginx@${other}`, `nginx@${digest}`] };
  const of = (written: string, known: typeof detail | null) => imageFacts(written, id, known, normalizeImage);
  t.same(of("nginx", detail), { image: "docker.io/library/nginx:latest", imageDigest: digest });
  t.same(of("mirror.example/nginx:1", detail), { image: "mirror.example/nginx:1", imageDigest: other });
  t.same(of("local", { id, tags: [], digests: [] }), {
    image: "docker.io/library/local:latest",
    imageDigest: id,
  });
  t.same(of("local", null), { image: "docker.io/library/local:latest", imageDigest: id });
  t.same(
    of(id, detail),
    { image: "docker.io/library/nginx:1.27", imageDigest: digest },
    "by id: called by its tag",
  );
  t.equal(of("1c969b95", { ...detail, digests: [] }).image, "docker.io/library/nginx:1.27", "by short id");
  t.equal(of(id, null).image, id);
  t.equal(of(`nginx@${digest}`, null).imageDigest, digest);
});

t.test("decoding what engines of several ages send", async (t) => {
  const container = decodeContainer({
    Id: "abc",
    Name: "/web",
    Image: "sha256:1",
    State: {
      Status: "running",
      Running: true,
      Paused: true,
      Pid: 7,
      StartedAt: "2026-11-24T06:53:09.563656298Z",
    },
    Config: { Image: "nginx", Labels: null },
    HostConfig: { NetworkMode: "default", RestartPolicy: { Name: "on-failure", MaximumRetryCount: 3 } },
    NetworkSettings: {
      SandboxKey: "/run/docker/netns/1",
      Networks: {
        n: {
          NetworkID: "n1",
          MacAddress: "02:42:AC:11:00:02",
          IPAddress: "172.17.0.2",
          GlobalIPv6Address: "2001:DB8:0::2",
        },
        m: { NetworkID: "m1", IPAddress: "invalid IP" },
      },
    },
  });
  t.match(container, {
    name: "web",
    state: "paused",
    pid: 7,
    startedAt: 1_795_503_189_563,
    labels: {},
    restartPolicy: { name: "on-failure", maximumRetryCount: 3 },
  });
  t.same(container.endpoints, [
    {
      networkId: "n1",
      networkName: "n",
      hardwareAddress: "02:42:ac:11:00:02",
      addresses: ["172.17.0.2", "2001:db8::2"],
    },
    { networkId: "m1", networkName: "m", hardwareAddress: "", addresses: [] },
  ]);
  const stopped = decodeContainer({
    Id: "abc",
    State: { Status: "exited", Pid: 7, StartedAt: "2026-11-24T06:53:09Z" },
  });
  t.match(stopped, { state: "exited", pid: 0, startedAt: 0, sandboxKey: "" });
  const restarting = { Status: "restarting", Running: true, Restarting: true, Pid: 0 };
  t.match(decodeContainer({ Id: "abc", State: restarting }), { state: "restarting", pid: 0 });
  t.throws(() => decodeContainer({ Id: "abc" }), { code: "TM_DOCKER" });
  t.throws(() => decodeContainers({}), { code: "TM_DOCKER" });
  t.match(decodeContainers([{ Id: "a", Names: ["/other/alias", "/web"], State: "Running" }]), [
    { name: "web", state: "running", endpoints: [] },
  ]);
});

t.test("namespaces are known by what they are, not by their path", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "tm-ctr-"));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  for (const name of ["one", "two", "default", "lb_x"]) writeFileSync(join(directory, name), "");
  const namespaces = new Namespaces([]);
  t.equal(namespaces.identity("/proc/self/ns/net"), "", "our own does not count");
  t.equal(namespaces.identity(`/proc/${process.pid}/ns/net`), "");
  t.equal(namespaces.identity("/no/such/file"), "");
  t.same(namespaces.others(new Set()), []);
  namespaces.learn(join(directory, "one"));
  namespaces.learn("/no/such/directory/x");
  t.same(namespaces.others(new Set()).sort(), [join(directory, "one"), join(directory, "two")]);
  t.same(namespaces.others(new Set([namespaces.identity(join(directory, "one"))])), [join(directory, "two")]);
});
