/** Each check on a host that is well, and on one that has what the check is for. */
import t from "tap";
import { loadConfig } from "../../src/config.ts";
import { clock } from "../../src/doctor/checks/clock.ts";
import { conntrack } from "../../src/doctor/checks/conntrack.ts";
import { coverage } from "../../src/doctor/checks/coverage.ts";
import { daemon } from "../../src/doctor/checks/daemon.ts";
import { engine } from "../../src/doctor/checks/engine.ts";
import { feeds } from "../../src/doctor/checks/feeds.ts";
import { files } from "../../src/doctor/checks/files.ts";
import { kernel } from "../../src/doctor/checks/kernel.ts";
import { lookups } from "../../src/doctor/checks/lookups.ts";
import { models } from "../../src/doctor/checks/models.ts";
import { ports } from "../../src/doctor/checks/ports.ts";
import { privileges } from "../../src/doctor/checks/privileges.ts";
import { queue } from "../../src/doctor/checks/queue.ts";
import { rawSockets } from "../../src/doctor/checks/raw-sockets.ts";
import { storage } from "../../src/doctor/checks/storage.ts";
import { CHECKS, examine } from "../../src/doctor/doctor.ts";
import type { Patient } from "../../src/doctor/patient.ts";
import { TidesmanError } from "../../src/errors.ts";
import { container, feed, status } from "../control/scripted.ts";
import { hear, levels, NOW, patientWith, type Said } from "./fake-host.ts";

const configured = (text: string): Partial<Patient> => ({ config: loadConfig(text, "tidesman.yaml", "h1") });
const queueRow = (line: string): Said => ({
  files: { "/proc/net/netfilter/nfnetlink_queue": line },
});

t.test("a host that is well: every check has its word, and none complains", async (t) => {
  const verdicts = await examine(patientWith({}));
  t.strictSame(
    verdicts.filter(({ level }) => level !== "ok"),
    [],
  );
  for (const name of Object.keys(CHECKS))
    t.ok(
      verdicts.some(({ check }) => check === name),
      name,
    );
});

t.test("without a daemon: fewer checks, and one problem", async (t) => {
  const bound = { "/proc/net/udp": null, "/proc/net/tcp": null, "/proc/net/netfilter/nfnetlink_queue": null };
  const commands = { "iptables-save": "", "ip6tables-save": "" };
  const verdicts = await examine(patientWith({ status: null, files: bound, commands }));
  t.strictSame(
    verdicts.filter(({ level }) => level === "problem").map(({ check }) => check),
    ["daemon"],
  );
  t.strictSame(
    verdicts.filter(({ level }) => level === "unknown").map(({ check }) => check),
    ["coverage", "models"],
  );
});

t.test("a check that fails is told as such, and the others go on", async (t) => {
  const broken = () => {
    throw new Error("oh");
  };
  t.match(await examine(patientWith({}), { broken, conntrack }), [
    { check: "broken", level: "unknown", message: "the check failed: oh" },
    { check: "conntrack", level: "ok" },
  ]);
});

t.test("daemon", async (t) => {
  t.match(await hear(daemon, { status: null }), [/^problem: it is not there.*pass unseen/]);
  const closed = configured("failMode: closed");
  t.match(await hear(daemon, { status: null, patient: closed }), [/are dropped where rules were left/]);
  const trouble = new TidesmanError("TM_NOT_PERMITTED", "no permission");
  t.match(await hear(daemon, { status: null, patient: { trouble } }), [/^unknown: no permission/]);
  t.match(await hear(daemon, { patient: closed }), [/^ok/, /^warning: .*`failMode: open`.*`closed`/]);
  t.match(await hear(daemon, { status: { version: "0.0.9" } }), [/^ok/, /^warning: version 0\.0\.9 runs/]);
  t.match(await hear(daemon, { status: { policy: status.policy } }), [
    /^ok/,
    /^problem: the policy was refused/,
  ]);
  t.match(await hear(daemon, { patient: configured("log: { level: debug }") }), [/^ok/, /^warning: .*debug/]);
  t.match(await hear(daemon, { status: { dropped: { findings: 3, observations: 0 } } }), [
    /^ok/,
    /3 findings/,
  ]);
});

t.test("files", async (t) => {
  const file = {
    kind: "policy",
    file: "/p",
    found: true,
    permitted: true,
    summary: "1 rule",
    problems: [],
    notices: [],
  } as const;
  const notice = {
    level: "warning",
    file: "/p",
    line: 1,
    column: 1,
    field: "rules",
    message: "odd",
  } as const;
  const heard = await hear(files, {
    patient: {
      files: [file, { ...file, problems: ["/p:1:1: bad", "worse"] }, { ...file, notices: [notice] }],
    },
  });
  t.match(heard, [/^ok: policy: \/p: 1 rule/, /^problem: .*bad \(and 1 more\)/, /^warning: .*rules: odd/]);
});

t.test("privileges: the daemon's, or this user's while there is none", async (t) => {
  const none = { "/proc/4242/status": "CapEff:\t0000000000003000\n", "/proc/self/status": "CapEff:\t0\n" };
  t.match(await hear(privileges, { files: none }), [/^problem: the daemon .*4242.* has no CAP_SYS_ADMIN/]);
  const heard = await hear(privileges, { files: none, status: null, host: { user: 1000 } });
  t.strictSame(levels(heard), ["warning", "warning", "warning", "unknown"]);
  t.match(await hear(privileges, { files: { "/proc/4242/status": null } }), [/^unknown/]);
});

t.test("kernel", async (t) => {
  const shortcomings = [
    "net.bridge.bridge-nf-call-iptables is 0: traffic is not seen; run `sysctl -w net.bridge.x=1`",
    "the kernel has no module xt_set: rules cannot be installed; install the package with it",
  ];
  const verdicts = await kernel(patientWith({ host: { kernelShortcomings: () => shortcomings } }));
  t.match(verdicts[0], {
    level: "warning",
    message: /traffic is not seen$/,
    remedy: "run `sysctl -w net.bridge.x=1`",
  });
  t.match(verdicts[1], { level: "problem", remedy: /^install the package/ });
  t.match(await hear(kernel, { files: { "/proc/net/if_inet6": null } }), [/^ok/, /IPv6 is off/]);
});

t.test("queue", async (t) => {
  t.match(await hear(queue, queueRow(" 1 2 0 2 256 0 0 0 1\n")), [/^problem: nobody reads queue 5303/]);
  t.match(await hear(queue, { ...queueRow(""), status: null }), [/^ok: number 5303 is free/]);
  t.match(await hear(queue, { status: null }), [/^problem: .*somebody else \(netlink port 4242/]);
  const heard = await hear(queue, queueRow(" 5303 4242 8000 2 256 7 9 0 1\n"));
  t.match(heard, [/^warning: 7 packets found/, /^warning: 9 packets did not fit/, /^warning: 8000 of 8192/]);
  const refused = { queue: { ...status.queue, verdictErrors: 2 }, packets: { ...status.packets, errors: 1 } };
  t.match(await hear(queue, { status: refused }), [/refused 2 verdicts/, /1 packets or lookups failed/]);
});

t.test("conntrack", async (t) => {
  const filled = (count: string | null) =>
    hear(conntrack, { files: { "/proc/sys/net/netfilter/nf_conntrack_count": count } });
  t.match(await filled("799"), [/^ok: 799 of 1000/]);
  t.match(await filled("800"), [/^warning/]);
  t.match(await filled("950"), [/^problem/]);
  t.match(await filled(null), [/^unknown/]);
});

t.test("engine", async (t) => {
  const silent = (error: string): Said => ({ host: { engine: async () => ({ error }) } });
  const says = (Version: string, ApiVersion: string): Said => ({
    engine: { "/version": { Version, ApiVersion } },
  });
  t.match(await hear(engine, silent("ENOENT")), [/^warning: no container engine answers/]);
  t.match(await hear(engine, silent("EACCES")), [/^problem: no permission/]);
  t.match(await hear(engine, { engine: { "/version": [] } }), [/^warning: .*is no container engine/]);
  t.match(await hear(engine, says("19.03", "1.39")), [/^problem: .*1\.39 is too old/]);
  t.match(await hear(engine, says("3.4", "1.40")), [/^ok/]);
  const rootless = { "/info": { SecurityOptions: ["name=seccomp", "name=rootless"] } };
  t.match(await hear(engine, { engine: rootless }), [/^ok/, /^warning: it is rootless/]);
  const docker = { ...status.docker, state: "waiting", error: "it hangs" } as const;
  t.match(await hear(engine, { status: { docker } }), [/^ok/, /^problem: .*it hangs/]);
});

t.test("coverage: containers that could undo what is done here, as the engine says", async (t) => {
  const details: Readonly<Record<string, object>> = {
    plain: { HostConfig: { NetworkMode: "bridge", CapAdd: null }, Mounts: [{ Source: "/srv" }] },
    strong: { HostConfig: { Privileged: true } },
    admin: { HostConfig: { CapAdd: ["NET_ADMIN"] } },
    both: { HostConfig: { CapAdd: ["cap_net_admin", "CAP_SYS_ADMIN"], NetworkMode: "host" } },
    ci: { HostConfig: {}, Mounts: [{ Source: "/var/run/docker.sock" }] },
  };
  const answers = {
    "/containers/json": [...Object.keys(details), "gone"].map((Id) => ({ Id })),
    ...Object.fromEntries(
      Object.entries(details).map(([id, detail]) => [
        `/containers/${id}/json`,
        { Name: `/${id}`, ...detail },
      ]),
    ),
  };
  const powers = [
    /^warning: could undo .*`strong` \(privileged\), `both` \(SYS_ADMIN, NET_ADMIN in the host's network\), `ci` \(\/var\/run\/docker\.sock\)$/,
    /^warning: may change .*`admin`;/,
  ];
  t.match(await hear(coverage, { engine: answers }), [/^ok/, ...powers]);
  const alone = await hear(coverage, { engine: answers, status: null });
  t.match(alone, [/^unknown: only the daemon/, /^warning: in the host's network.*`both`$/, ...powers]);
  const nothing = { host: { engine: async () => ({ error: "ENOENT" }) }, status: null };
  t.match(await hear(coverage, nothing), [/^unknown: neither/]);
});

t.test("coverage: each container that is not seen, by name", async (t) => {
  const past = { ...container, name: "vlan", networks: [{ name: "m", bridge: "", veth: "", addresses: [] }] };
  const containers = [
    { ...container, name: "seen" },
    { ...container, name: "host", networkMode: "host", networks: [] },
    past,
    { ...container, name: "free", rule: null },
    { ...container, name: "gone", state: "exited", networkMode: "host" } as const,
  ];
  t.match(await hear(coverage, { patient: { containers } }), [
    /^ok: 2 of 4 running containers/,
    /^warning: .*`host`$/,
    /^warning: .*macvlan.*`vlan`$/,
    /^warning: .*no rule.*`free`$/,
  ]);
});

t.test("coverage: who is judged by another's rule, since it shares its network", async (t) => {
  const guest = (name: string, rule: string) => {
    return { ...container, id: name, name, rule, networkMode: "container:owner", networks: [] };
  };
  const owner = { ...container, id: "owner", name: "owner", rule: "strict" };
  const containers = [owner, guest("alike", "strict"), guest("other", "loose")];
  t.match(await hear(coverage, { patient: { containers } }), [
    /^ok: 3 of 3/,
    /^warning: in another container's network.*: `other` as `owner`$/,
  ]);
});

t.test("lookups", async (t) => {
  const two = configured("dns: { upstreams: [192.0.2.1, '192.0.2.2:5353'] }");
  const silent = (...addresses: string[]) => ({
    patient: two,
    host: {
      ask: async ({ address }: { address: string }) => (addresses.includes(address) ? "silent" : null),
    },
  });
  t.match(await hear(lookups, silent()), [/^ok: upstreams answer: 192\.0\.2\.1, 192\.0\.2\.2$/]);
  t.match(await hear(lookups, silent("192.0.2.2")), [/^warning: .*192\.0\.2\.2 port 5353 \(silent\)$/]);
  t.match(await hear(lookups, silent("192.0.2.1", "192.0.2.2")), [/^problem: no upstream answers/]);
  const stub = { "/etc/resolv.conf": "nameserver 127.0.0.53\n" };
  t.match(await hear(lookups, { files: stub }), [/^ok/, /^warning: .*127\.0\.0\.53.*unseen$/]);
  const told = { ...stub, "/etc/docker/daemon.json": '{ "dns": ["172.17.0.1"] }' };
  t.match(levels(await hear(lookups, { files: told })), ["ok"]);
  t.match(await hear(lookups, { patient: configured("dns: { redirect: false }") }), [
    /^ok/,
    /not redirected/,
  ]);
});

t.test("ports", async (t) => {
  const none = { "/proc/net/udp": null, "/proc/net/tcp": null };
  t.match(await hear(ports, { files: none }), [/^problem: nobody listens on 5303 .* and 8053/]);
  t.match(await hear(ports, { files: none, status: null }), [/^ok: .* are free/]);
  t.match(await hear(ports, { status: null }), [/^problem: in use by another program: 5303 .* and 8053/]);
  const held = { status: null, commands: { "systemctl is-active tidesman.socket": "active\n" } };
  t.match(await hear(ports, held), [/^problem: in use by another program: 8053/]);
  t.match(await hear(ports, { ...held, patient: configured("console: { port: 0 }") }), [
    /^ok: systemd holds/,
  ]);
});

t.test("feeds", async (t) => {
  const off = { ...feed, name: "off", enabled: false, error: "whatever" };
  t.match(await hear(feeds, { patient: { feeds: [feed, off] } }), [
    /^ok: 1 in use, fresh, with 123456 entries/,
  ]);
  t.match(await hear(feeds, { patient: { feeds: null } }), [/^warning: no feed is compiled/]);
  const bad = [
    { ...feed, name: "a", state: "notFetched" },
    { ...feed, name: "b", state: "quarantined" },
    { ...feed, name: "c", error: "HTTP 500" },
    { ...feed, name: "d", stale: true },
    { ...feed, name: "e", state: "failed", stale: true, goodAt: null, wantedSince: feed.goodAt, error: "no" },
  ] as const;
  t.match(await hear(feeds, { patient: { feeds: bad } }), [
    /^warning: a: not fetched/,
    /^warning: b: an update is quarantined/,
    /^warning: c: HTTP 500/,
    /^warning: d: stale/,
    /^warning: e: never fetched well since it is named, at 20.*: no/,
  ]);
});

t.test("models and raw sockets", async (t) => {
  t.match(await hear(models), [/^ok: 1 learning, 1 active, 0 archived, 0 manual; .* 60 min/]);
  const tables = { source: "tables", reason: "no tracefs" } as const;
  t.match(await hear(rawSockets), [/^ok: found by tracing/]);
  t.match(await hear(rawSockets, { status: { rawSockets: tables } }), [/^warning: .*every 10 s.*no tracefs/]);
  const wanted = configured("detectors: { sockets: { rawSource: tables, interval: 2s } }");
  t.match(await hear(rawSockets, { status: { rawSockets: tables }, patient: wanted }), [/^ok: .*every 2 s/]);
  t.match(await hear(rawSockets, { status: null }), [/^ok: tracefs is there/]);
  const none = { "/sys/kernel/tracing/available_tracers": null };
  t.match(await hear(rawSockets, { status: null, files: none }), [/^warning: tracefs cannot be used/]);
});

t.test("storage", async (t) => {
  const free = (bytes: number) => ({ host: { space: () => ({ free: bytes, total: 2 ** 40 }) } });
  t.match(await hear(storage, free(2 ** 30)), [/^ok: 1024 MiB/]);
  t.match(await hear(storage, free(2 ** 28)), [/^warning/]);
  t.match(await hear(storage, free(2 ** 20)), [/^problem: 1 MiB are free/]);
  const error = { audits: { ...status.audits, error: "disk full" } };
  t.match(await hear(storage, { status: error }), [/^problem: audits cannot be written: disk full/, /^ok/]);
  const refused = { status: null, host: { access: () => "refused" as const } };
  t.match(await hear(storage, refused), [/^warning: this user may not write/, /^ok/]);
});

t.test("clock", async (t) => {
  t.match(await hear(clock, { host: { now: () => 0 } }), [/^problem: it says 1970-/]);
  const later = new Date(NOW + 60_000).toISOString();
  t.match(await hear(clock, { status: { startedAt: later } }), [/^problem: .*set back/]);
  const kept = (answer: string) => ({ "timedatectl show -p NTPSynchronized --value": answer });
  t.match(await hear(clock, { commands: kept("no\n") }), [/^warning: .*no time service/]);
  t.match(await hear(clock, { commands: kept("") }), [/^unknown/]);
});
