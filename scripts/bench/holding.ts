/**
 * The same list of names held by the proxy, dnsmasq and unbound: memory and answers per second; what taking over a new
 * list costs while lookups go on; and what the list adds to the whole daemon.
 */
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { readGeneration, writeGeneration } from "../../src/feed/artefact.ts";
import { benchLines, build } from "./feeds.ts";
import { type Child, inNamespace, Namespace } from "./processes.ts";

const PORTS = { upstream: 5300, proxy: 5321, dnsmasq: 5322, unbound: 5323 };
/** Longest time that a server may take to read the list; seconds. */
const PATIENCE = 90;
const NAMES = 1000;
const WINDOW = 128;
/** Lookups a second while a list is taken over, and the most sent at once. */
const PACE = 20_000;
const PACE_WINDOW = 512;
const SWAPS = 8;

export interface Held {
  /** Resident memory in MB, and what of it the list made. */
  readonly memory: number;
  readonly added: number;
  /** Seconds from the start to the first answer. */
  readonly start: number;
  readonly rate: number;
}

export interface HoldingFigures {
  readonly names: number;
  readonly proxy: Held;
  readonly dnsmasq: Held;
  readonly unbound: Held | null;
  /** Milliseconds: writing the artefact, reading and checking it, and taking it over on the thread that answers. */
  readonly write: number;
  readonly read: number;
  readonly takeOver: number;
  /** Lookups answered each second, without and with lists being taken over; times in µs from when they were due. */
  readonly calm: Rates;
  readonly swapping: Rates;
  /** MB of the whole daemon without feeds, with the list, and after the list was updated. */
  readonly daemon: { readonly idle: number; readonly loaded: number; readonly updated: number };
}

export interface Rates {
  readonly rate: number;
  readonly p99: number;
  readonly most: number;
  readonly unanswered: number;
}

export async function measureHolding(seconds: number): Promise<HoldingFigures> {
  await using namespace = await Namespace.create("holding");
  const folder = mkdtempSync(join(tmpdir(), "tidesman-bench-"));
  const upstream = await namespace.node("upstream.ts", [PORTS.upstream], 1);
  try {
    const body = Buffer.from(benchLines().lines.join("\n"));
    const feeds = build(body);
    const list = join(folder, "list.txt");
    writeFileSync(list, body);
    const names = cleanNames(body);
    const write = milliseconds(() => writeGeneration(folder, { feeds, builtAt: 1, manifest: "" }));
    const read = milliseconds(() => readGeneration(folder));
    const empty = join(folder, "empty");
    writeGeneration(empty, { feeds: build(Buffer.from("one.example")), builtAt: 1, manifest: "" });
    const proxyWith = (from: string) => () =>
      namespace.node("proxy.ts", [PORTS.proxy, PORTS.upstream, from], 0);
    const proxy = await hold(namespace, PORTS.proxy, seconds, proxyWith(empty), proxyWith(folder));
    const dnsmasq = await hold(
      namespace,
      PORTS.dnsmasq,
      seconds,
      ...pair((with_) => dnsmasqCommand(folder, with_ ? names : []), namespace),
    );
    const unbound = await hold(
      namespace,
      PORTS.unbound,
      seconds,
      ...pair((with_) => unboundCommand(folder, with_ ? names : []), namespace),
    ).catch(() => null);
    const swap = await measureSwap(namespace, folder, seconds);
    const daemon = await measureDaemon(namespace, folder, list);
    return { names: names.length, proxy, dnsmasq, unbound, write, read, ...swap, daemon };
  } finally {
    await upstream.end();
    rmSync(folder, { recursive: true });
  }
}

type Start = () => Promise<Child>;

function pair(command: (held: boolean) => readonly string[], namespace: Namespace): [Start, Start] {
  const start = (held: boolean) => async () =>
    namespace.start(inNamespace(namespace, ["taskset", "-c", "0", ...command(held)]));
  return [start(false), start(true)];
}

async function hold(
  namespace: Namespace,
  port: number,
  seconds: number,
  without: Start,
  held: Start,
): Promise<Held> {
  const idle = await serving(namespace, port, without, async (child) => memoryOf(child));
  return serving(namespace, port, held, async (child, start) => {
    const { rate } = await load(namespace, port, seconds, WINDOW);
    const memory = memoryOf(child);
    return { memory, added: memory - idle, start, rate };
  });
}

async function serving<Result>(
  namespace: Namespace,
  port: number,
  begin: Start,
  use: (child: Child, start: number) => Promise<Result>,
): Promise<Result> {
  const began = performance.now();
  const child = await begin();
  if (process.env.BENCH_TRACE) process.stderr.write(`serving ${port}\n`);
  try {
    for (;;) {
      const { rate } = await load(namespace, port, 0.2, 1);
      if (rate > 0) break;
      if (child.process.exitCode !== null || performance.now() - began > PATIENCE * 1000)
        throw new Error(`nothing answers at port ${port}`);
      await wait(200);
    }
    return await use(child, (performance.now() - began) / 1000);
  } finally {
    await child.end();
  }
}

async function load(
  namespace: Namespace,
  port: number,
  seconds: number,
  window: number,
  pace = 0,
): Promise<Rates> {
  return JSON.parse(await namespace.output("load.ts", [port, seconds, window, NAMES, pace], 1)) as Rates;
}

async function measureSwap(
  namespace: Namespace,
  folder: string,
  seconds: number,
): Promise<Pick<HoldingFigures, "takeOver" | "calm" | "swapping">> {
  const child = await namespace.node("proxy.ts", [PORTS.proxy, PORTS.upstream, folder], 0);
  try {
    const times: number[] = [];
    const swap = async (): Promise<void> => {
      const told = once(child.process.stdout!, "data");
      child.process.stdin?.write("\n");
      times.push(Number(String((await told)[0])));
    };
    const paced = (): Promise<Rates> => load(namespace, PORTS.proxy, seconds * 2, PACE_WINDOW, PACE);
    await paced();
    const calm = await paced();
    const loading = paced();
    await wait(600);
    for (let round = 0; round < SWAPS; round++) {
      await swap();
      await wait((seconds * 1000) / SWAPS);
    }
    const swapping = await loading;
    times.sort((a, b) => a - b);
    return { takeOver: times[times.length >> 1] ?? 0, calm, swapping };
  } finally {
    await child.end();
  }
}

/** The whole daemon, with no container engine: what the list adds to it at its start, and by an update. */
async function measureDaemon(
  namespace: Namespace,
  folder: string,
  list: string,
): Promise<HoldingFigures["daemon"]> {
  const main = resolve(import.meta.dirname, "../../src/main.ts");
  const places = (name: string, feeds: unknown): string[] => {
    const at = join(folder, name);
    mkdirSync(at);
    const settings = { docker: { socket: join(at, "none.sock") }, dns: { upstreams: ["127.0.0.1:5300"] } };
    writeFileSync(join(at, "tidesman.yaml"), JSON.stringify(settings));
    writeFileSync(join(at, "feeds.yaml"), JSON.stringify({ version: 1, feeds }));
    return [
      ...["--config", join(at, "tidesman.yaml"), "--feeds", join(at, "feeds.yaml")],
      ...["--state", join(at, "state"), "--runtime-dir", join(at, "run")],
    ];
  };
  const running = async (where: string[], use: (child: Child) => Promise<number[]>): Promise<number[]> => {
    const child = namespace.start(inNamespace(namespace, [process.execPath, main, "daemon", ...where]));
    try {
      for (let tries = 0; (await command(where, "status")) !== 0; tries++) {
        if (tries > 100) throw new Error("the daemon does not answer");
        await wait(300);
      }
      // The update that follows every start has ended, and the engine has given back what it used.
      await command(where, "feeds", "update", "--offline");
      await wait(5000);
      return await use(child);
    } finally {
      await child.end();
    }
  };
  const command = async (where: string[], ...words: string[]): Promise<number | null> => {
    const child = namespace.start(inNamespace(namespace, [process.execPath, main, ...words, ...where]));
    await once(child.process, "exit");
    return child.process.exitCode;
  };
  const [idle = 0] = await running(places("idle", []), async (child) => [memoryOf(child)]);
  const where = places("loaded", [{ name: "big", path: list, kind: "domain" }]);
  const [loaded = 0, updated = 0] = await running(where, async (child) => {
    const first = memoryOf(child);
    writeFileSync(list, "\nnewer.example\n", { flag: "a" });
    await command(where, "feeds", "update", "--offline");
    await wait(5000);
    return [first, memoryOf(child)];
  });
  return { idle, loaded, updated };
}

/** Resident memory of a process, MB. */
function memoryOf({ process: { pid } }: Child): number {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) / 1000;
}

/** Those that every server takes: folded names of letters, digits and hyphens. */
function cleanNames(body: Buffer): string[] {
  const names = body.toString("latin1").toLowerCase().split("\n");
  return [...new Set(names)].filter((name) =>
    /^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,}$/.test(name),
  );
}

function dnsmasqCommand(folder: string, names: readonly string[]): string[] {
  const file = join(folder, `dnsmasq-${names.length}.conf`);
  writeFileSync(file, names.map((name) => `local=/${name}/\n`).join(""));
  return [
    ...["dnsmasq", "--no-daemon", `--conf-file=${file}`, "--no-resolv", "--no-hosts"],
    ...[`--server=127.0.0.1#${PORTS.upstream}`, `--port=${PORTS.dnsmasq}`, "--cache-size=10000"],
    ...[
      "--dns-forward-max=1000",
      "--listen-address=127.0.0.1",
      "--bind-interfaces",
      "--user=root",
      "--pid-file=",
    ],
  ];
}

function unboundCommand(folder: string, names: readonly string[]): string[] {
  const file = join(folder, `unbound-${names.length}.conf`);
  const zones = names.map((name) => `local-zone: "${name}" always_nxdomain\n`).join("");
  writeFileSync(
    file,
    `server:
  directory: "${folder}"
  chroot: ""
  username: ""
  pidfile: ""
  use-syslog: no
  num-threads: 1
  interface: 127.0.0.1
  port: ${PORTS.unbound}
  do-not-query-localhost: no
  module-config: "iterator"
${zones}forward-zone:
  name: "."
  forward-addr: 127.0.0.1@${PORTS.upstream}
remote-control:
  control-enable: no
`,
  );
  return ["unbound", "-d", "-c", file];
}

function milliseconds(work: () => unknown): number {
  const began = performance.now();
  work();
  return performance.now() - began;
}
