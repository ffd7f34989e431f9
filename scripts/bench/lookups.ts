/**
 * Cached answers per second: the proxy and dnsmasq, interleaved, the server on one core and the generator on the other, in
 * a network namespace of their own with no rules in the way. Both forward to the same upstream and are warmed first.
 */
import { type Child, inNamespace, Namespace } from "./processes.ts";

export interface LookupRates {
  readonly rate: number;
  readonly p50: number;
  readonly p99: number;
}

export interface Comparison {
  readonly proxy: LookupRates;
  readonly dnsmasq: LookupRates;
}

const UPSTREAM = 5300;
const PROXY = 5311;
const DNSMASQ = 5312;
const NAMES = 1000;
const WINDOW = 128;

export async function compareWithDnsmasq(rounds: number, seconds: number): Promise<Comparison> {
  await using namespace = await Namespace.create("lookups");
  const started: Child[] = [];
  try {
    started.push(await namespace.node("upstream.ts", [UPSTREAM], 1));
    started.push(await namespace.node("proxy.ts", [PROXY, UPSTREAM], 0));
    started.push(
      namespace.start(
        inNamespace(namespace, [
          ...[
            "taskset",
            "-c",
            "0",
            "dnsmasq",
            "--no-daemon",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
          ],
          ...[
            `--server=127.0.0.1#${UPSTREAM}`,
            `--port=${DNSMASQ}`,
            "--cache-size=10000",
            "--dns-forward-max=1000",
          ],
          ...["--listen-address=127.0.0.1", "--bind-interfaces", "--user=root", "--pid-file="],
        ]),
      ),
    );
    const results: { proxy: LookupRates[]; dnsmasq: LookupRates[] } = { proxy: [], dnsmasq: [] };
    for (let round = 0; round < rounds; round++) {
      results.proxy.push(await load(namespace, PROXY, seconds));
      results.dnsmasq.push(await load(namespace, DNSMASQ, seconds));
    }
    return { proxy: medianOf(results.proxy), dnsmasq: medianOf(results.dnsmasq) };
  } finally {
    await Promise.all(started.map((child) => child.end()));
  }
}

async function load(namespace: Namespace, port: number, seconds: number): Promise<LookupRates> {
  const text = await namespace.output("load.ts", [port, seconds, WINDOW, NAMES], 1);
  return JSON.parse(text) as LookupRates;
}

function medianOf(results: readonly LookupRates[]): LookupRates {
  const middle = [...results].sort((a, b) => a.rate - b.rate)[results.length >> 1];
  if (middle === undefined) throw new Error("no round was measured");
  return middle;
}
