import { execFile, execFileSync, spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import t from "tap";
import { ManualClock } from "../src/clock.ts";
import type { Run } from "../src/run.ts";
import { systemdNotifier, takeListenSockets } from "../src/systemd.ts";

const execute = promisify(execFile);
const UNITS = fileURLToPath(new URL("../systemd/", import.meta.url));
const never = (message: string): never => {
  throw new Error(message);
};

/** A `systemd-notify` that only writes down what it was asked to send. */
function recorder(status = 0): { run: Run; sent: string[] } {
  const sent: string[] = [];
  const run: Run = async (command, args) => {
    sent.push([command, ...args].join(" "));
    return { status, stdout: "", stderr: status === 0 ? "" : "no such socket\n" };
  };
  return { run, sent };
}

t.test("says nothing when nobody listens", async (t) => {
  const { run, sent } = recorder();
  const notifier = systemdNotifier({ environment: {}, clock: new ManualClock(), run, onError: never });
  await notifier.ready("up");
  await notifier.stopping();
  notifier.watch(() => true).cancel();
  t.same(sent, []);
});

t.test("readiness, reload, status and stop, one after the other", async (t) => {
  const { run, sent } = recorder();
  const notifier = systemdNotifier({
    environment: { NOTIFY_SOCKET: "/run/systemd/notify" },
    clock: new ManualClock(),
    run,
    monotonicMicroseconds: () => 1234n,
    onError: never,
  });
  void notifier.ready("3 containers\non 2 networks");
  void notifier.reloading();
  void notifier.status("revision 2");
  await notifier.stopping();
  t.same(sent, [
    "systemd-notify --no-block READY=1 STATUS=3 containers on 2 networks",
    "systemd-notify --no-block RELOADING=1 MONOTONIC_USEC=1234",
    "systemd-notify --no-block STATUS=revision 2",
    "systemd-notify --no-block STOPPING=1",
  ]);
});

t.test("the watchdog is fed twice per interval, by a healthy process only, and only ours", async (t) => {
  const clock = new ManualClock();
  const { run, sent } = recorder();
  const environment = { NOTIFY_SOCKET: "@n", WATCHDOG_USEC: "30000000", WATCHDOG_PID: String(process.pid) };
  const notifier = systemdNotifier({ environment, clock, run, onError: never });
  let healthy = true;
  const watching = notifier.watch(() => healthy);
  clock.advance(30_000);
  healthy = false;
  clock.advance(30_000);
  healthy = true;
  clock.advance(15_000);
  watching.cancel();
  clock.advance(60_000);
  await notifier.status("done");
  t.equal(sent.filter((line) => line.endsWith("WATCHDOG=1")).length, 3);
  const others = systemdNotifier({
    environment: { ...environment, WATCHDOG_PID: "1" },
    clock,
    run,
    onError: never,
  });
  others.watch(() => true);
  clock.advance(60_000);
  await others.status("done");
  t.equal(sent.filter((line) => line.endsWith("WATCHDOG=1")).length, 3);
});

t.test("a service manager that cannot be reached is told once", async (t) => {
  const { run } = recorder(1);
  const errors: string[] = [];
  const environment = { NOTIFY_SOCKET: "/nowhere" };
  const onError = (message: string): void => void errors.push(message);
  const notifier = systemdNotifier({ environment, clock: new ManualClock(), run, onError });
  await notifier.ready("up");
  await notifier.status("still");
  t.same(errors, ["cannot notify systemd: no such socket"]);
});

const PERL = "/usr/bin/perl";
const NOTIFY = "/usr/bin/systemd-notify";
const noReceiver = !(existsSync(PERL) && existsSync(NOTIFY)) && "needs perl and systemd-notify";

t.test("arrives at a real notification socket, under our process id", { skip: noReceiver }, async (t) => {
  // Node cannot open a Unix datagram socket; perl, part of every Debian, receives.
  const folder = mkdtempSync(join(tmpdir(), "tm-notify-"));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, "n");
  const receiver = spawn(
    PERL,
    [
      "-MSocket",
      "-e",
      `socket(my $s, AF_UNIX, SOCK_DGRAM, 0) or die; bind($s, sockaddr_un($ARGV[0])) or die $!;
       setsockopt($s, SOL_SOCKET, SO_PASSCRED, 1); $| = 1; print "bound\\n";
       recv($s, my $text, 4096, 0); print $text; exit 0;`,
      path,
    ],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  t.teardown(() => receiver.kill());
  const closed = once(receiver, "close");
  let text = "";
  receiver.stdout.setEncoding("utf8").on("data", (more: string) => {
    text += more;
  });
  await once(receiver.stdout, "data");
  const module = new URL("../src/systemd.ts", import.meta.url).href;
  const clock = new URL("../src/clock.ts", import.meta.url).href;
  const program = `
    import { systemdNotifier } from ${JSON.stringify(module)};
    import { systemClock } from ${JSON.stringify(clock)};
    const onError = (message) => { throw new Error(message); };
    await systemdNotifier({ environment: process.env, clock: systemClock, onError }).ready("up and well");`;
  await execute(process.execPath, ["--input-type=module", "-e", program], {
    env: { ...process.env, NOTIFY_SOCKET: path },
  });
  await closed;
  t.match(text, /READY=1\nSTATUS=up and well/);
});

t.test("sockets: taken only when they are ours, and once", async (t) => {
  const environment: Record<string, string | undefined> = {
    LISTEN_PID: String(process.pid),
    LISTEN_FDS: "4",
    LISTEN_FDNAMES: "a:b:c:d",
    PATH: "/bin",
  };
  const kinds = ["udp", "tcp", null, "udp"] as const;
  const errors: string[] = [];
  const protocolOf = (descriptor: number): "udp" | "tcp" | null => kinds[descriptor - 3] ?? null;
  const sockets = takeListenSockets(environment, (message) => errors.push(message), protocolOf);
  t.same(sockets, { udp: [3, 6], tcp: [4] });
  t.match(errors, [/descriptor 5 \(`c`\), which is no UDP or TCP socket/]);
  t.same(environment, { PATH: "/bin" });
  t.same(takeListenSockets(environment, never), { udp: [], tcp: [] });
  const none = { udp: [], tcp: [] };
  t.same(takeListenSockets({ LISTEN_PID: "1", LISTEN_FDS: "1" }, never), none, "those of another process");
  t.same(takeListenSockets({ LISTEN_PID: String(process.pid), LISTEN_FDS: "many" }, never), none);
});

const ACTIVATE = "/usr/bin/systemd-socket-activate";

t.test(
  "sockets of a real activation are told apart",
  { skip: !existsSync(ACTIVATE) && "needs systemd-socket-activate" },
  async (t) => {
    const module = new URL("../src/systemd.ts", import.meta.url).href;
    const program = `
      import { takeListenSockets } from ${JSON.stringify(module)};
      console.log(JSON.stringify(takeListenSockets(process.env, (message) => console.log(message))));`;
    const free = createServer().listen(0, "127.0.0.1");
    await once(free, "listening");
    const { port } = free.address() as AddressInfo;
    free.close();
    await once(free, "close");

    // The program ends without having accepted.
    const reset = (): void => undefined;
    /** Starts the program behind two sockets, knocks, and returns what it says. */
    const activate = async (kind: readonly string[], knock: () => void): Promise<unknown> => {
      const sockets = ["-l", `127.0.0.1:${port}`, "-l", `[::1]:${port}`];
      const args = [...kind, ...sockets, process.execPath, "--input-type=module", "-e", program];
      const child = spawn(ACTIVATE, args, { stdio: ["ignore", "pipe", "pipe"] });
      t.teardown(() => child.kill());
      const said = once(child.stdout.setEncoding("utf8"), "data");
      await new Promise<void>((resolve) => {
        let listening = "";
        child.stderr.setEncoding("utf8").on("data", (text: string) => {
          listening += text;
          if (listening.includes("as 4")) resolve();
        });
      });
      knock();
      return JSON.parse((await said)[0]);
    };
    t.same(await activate([], () => connect(port, "127.0.0.1").on("error", reset)), { udp: [], tcp: [3, 4] });
    const sender = createSocket("udp6");
    t.teardown(() => sender.close());
    t.same(await activate(["--datagram"], () => sender.send("knock", port, "::1")), { udp: [3, 4], tcp: [] });
  },
);

const ANALYZE = "/usr/bin/systemd-analyze";
const noAnalysis = !existsSync(ANALYZE) && "needs systemd-analyze";

/** The units with a command that exists here, since verification looks for it. */
function installed(folder: string): string[] {
  cpSync(UNITS, folder, { recursive: true });
  const units = readdirSync(folder).filter((name) => /\.(service|socket|timer)$/.test(name));
  for (const name of units) {
    const path = join(folder, name);
    writeFileSync(path, readFileSync(path, "utf8").replaceAll("/usr/bin/tidesman", "/bin/true"));
  }
  return units.map((name) => join(folder, name));
}

t.test("systemd accepts the units without a complaint", { skip: noAnalysis }, async (t) => {
  const { stdout, stderr } = await execute(ANALYZE, ["verify", "--man=no", ...installed(t.testdir())]);
  t.equal(stdout + stderr, "");
});

t.test("the sandboxes stay as tight as they are", { skip: noAnalysis }, async (t) => {
  const units = installed(t.testdir());
  for (const [name, threshold, wanted] of [
    ["tidesman.service", 40, /exposure level for tidesman\.service: [0-3]\.\d OK/],
    ["tidesman-feeds.service", 25, /exposure level for tidesman-feeds\.service: [0-2]\.\d OK/],
  ] as const) {
    const [path = ""] = units.filter((unit) => unit.endsWith(`/${name}`));
    const options = ["security", "--offline=true", "--no-pager", `--threshold=${threshold}`, path];
    const { stdout } = await execute(ANALYZE, options);
    t.match(stdout, wanted);
  }
});

t.test("feeds are fetched with or without the daemon, as often as they are due", async (t) => {
  const service = readFileSync(join(UNITS, "tidesman-feeds.service"), "utf8");
  t.match(service, /^ExecStart=\/usr\/bin\/tidesman feeds update --due --quiet$/m);
  t.notMatch(service, /^(?:Requisite|Requires|BindsTo|PrivateNetwork)=/m);
  t.match(service, /^EnvironmentFile=-\/etc\/tidesman\/feeds\.env$/m);
  t.match(service, /^StateDirectory=tidesman$/m);
  const timer = readFileSync(join(UNITS, "tidesman-feeds.timer"), "utf8");
  t.match(timer, /^OnCalendar=\*:0\/15$/m);
  t.match(timer, /^RandomizedDelaySec=/m);
});

t.test("units, daemon and defaults agree", async (t) => {
  const unit = (name: string): string => readFileSync(join(UNITS, name), "utf8");
  const { loadConfig } = await import("../src/config.ts");
  const { port } = loadConfig(null, "tidesman.yaml", "h1").dns;
  for (const listen of [
    "ListenDatagram=0.0.0.0",
    "ListenDatagram=[::]",
    "ListenStream=0.0.0.0",
    "ListenStream=[::]",
  ]) {
    t.match(unit("tidesman.socket"), `${listen}:${port}\n`);
  }
  t.match(unit("tidesman.service"), /^ExecReload=\/bin\/kill -HUP \$MAINPID$/m);
  t.match(unit("tidesman.service"), /^Type=notify$/m);
  const justified = [...unit("tidesman.service").matchAll(/^# {3}(CAP_\w+) /gm)].map((match) => match[1]);
  const granted = /^CapabilityBoundingSet=(.+)$/m.exec(unit("tidesman.service"))?.[1]?.split(" ");
  t.same(granted, justified, "every capability has its reason beside it");
});

t.test("the cron file is one that cron and sh understand", async (t) => {
  const lines = readFileSync(join(UNITS, "tidesman-feeds.cron"), "utf8").split("\n");
  const jobs = lines.filter((line) => /^\d/.test(line));
  t.equal(jobs.length, 1);
  const [, user, command = ""] = /^[\d,]+ \S+ \S+ \S+ \S+ (\S+) (.*)$/.exec(jobs[0] ?? "") ?? [];
  t.equal(user, "root");
  t.notMatch(command, "%", "cron ends a command at a per cent sign");
  const bin = t.testdir({ tidesman: '#!/bin/sh\necho "$@"\nexit "$ANSWER"\n' });
  const run = (answer: string): string =>
    execFileSync("/bin/sh", ["-c", `chmod +x ${bin}/tidesman; PATH=${bin}:$PATH; ${command}`], {
      env: { PATH: "/usr/bin:/bin", ANSWER: answer },
      encoding: "utf8",
    });
  t.equal(run("0"), "");
  let failure: unknown;
  try {
    run("3");
  } catch (error) {
    failure = error;
  }
  t.match(failure, { status: 3, stdout: "feeds update --due --quiet\n" });
});
