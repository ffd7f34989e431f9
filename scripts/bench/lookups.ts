/**
 * Answers per second, cached and forwarded: the proxy and dnsmasq, interleaved, the server on one core and the generator on
 * the other, in a network namespace of their own with no rules in the way. Both forward to the same upstream.
 */
import { readdirSync, readFileSync } from "node:fs";
import { type Child, inNamespace, Namespace } from "./processes.ts";

export interface LookupRates {
  readonly rate: number;
  readonly p50: number;
  readonly p99: number;
  /** CPU time of all threads of the server for one answer, µs. */
  readonly cpu: number;
}

export interface Comparison {
  readonly proxy: LookupRates;
  readonly dnsmasq: LookupRates;
}

export interface LookupComparison {
  readonly cached: Comparison;
  /** Every name asked for once. */
  readonly forwarded: Comparison;
}

const UPSTREAM = 5300;
const PROXY = 5311;
const DNSMASQ = 5312;
const NAMES = 1000;
const WINDOW = 128;

const DNSMASQ_OPTIONS = [
  ...["--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", `--server=127.0.0.1#${UPSTREAM}`],
  ...[`--port=${DNSMASQ}`, "--cache-size=10000", "--dns-forward-max=1000", "--listen-address=127.0.0.1"],
  ...["--bind-interfaces", "--user=root", "--pid-file="],
];

export async function compareWithDnsmasq(rounds: number, seconds: number): Promise<LookupComparison> {
  await using namespace = await Namespace.create("lookups");
  const started: Child[] = [];
  try {
    started.push(await namespace.node("upstream.ts", [UPSTREAM], 1));
    const proxy = await namespace.node("proxy.ts", [PROXY, UPSTREAM], 0);
    started.push(proxy);
    const dnsmasq = namespace.start(
      inNamespace(namespace, ["taskset", "-c", "0", "dnsmasq", ...DNSMASQ_OPTIONS]),
    );
    started.push(dnsmasq);
    const compare = async (names: number): Promise<Comparison> => {
      const results: { proxy: LookupRates[]; dnsmasq: LookupRates[] } = { proxy: [], dnsmasq: [] };
      for (let round = 0; round < rounds; round++) {
        results.proxy.push(await load(namespace, proxy, PROXY, seconds, names));
        results.dnsmasq.push(await load(namespace, dnsmasq, DNSMASQ, seconds, names));
      }
      return { proxy: medianOf(results.proxy), dnsmasq: medianOf(results.dnsmasq) };
    };
    return { cached: await compare(NAMES), forwarded: await compare(0) };
  } finally {
    await Promise.all(started.map((child) => child.end()));
  }
}

async function load(
  namespace: Namespace,
  server: Child,
  port: number,
  seconds: number,
  names: number,
): Promise<LookupRates> {
  const before = cpuTime(server);
  const text = await namespace.output("load.ts", [port, seconds, WINDOW, names], 1);
  const { answered, ...rates } = JSON.parse(text) as LookupRates & { readonly answered: number };
  return { ...rates, cpu: (cpuTime(server) - before) / answered };
}

/** Time on a CPU of all its threads, µs (first field of schedstat, Documentation/scheduler/sched-stats.rst). */
function cpuTime({ process: { pid } }: Child): number {
  const tasks = `/proc/${pid}/task`;
  const nanoseconds = readdirSync(tasks).map((task) =>
    Number(readFileSync(`${tasks}/${task}/schedstat`, "utf8").split(" ")[0]),
  );
  return nanoseconds.reduce((sum, one) => sum + one, 0) / 1000;
}

function medianOf(results: readonly LookupRates[]): LookupRates {
  const middle = [...results].sort((a, b) => a.rate - b.rate)[results.length >> 1];
  if (middle === undefined) throw new Error("no round was measured");
  return middle;
}
