/**
 * `npm run bench`: decisions per second, the index of feeds, the proxy beside dnsmasq, and new flows through the queue
 * beside none. Ratios are of the same run; absolute figures are the machine's. `--rounds N`, `--seconds N`.
 */
import { parseArgs } from "node:util";
import { measureDecisions } from "./decisions.ts";
import { measureDetectors } from "./detectors.ts";
import { type FeedFigures, measureFeeds } from "./feeds.ts";
import { measureHolding } from "./holding.ts";
import { type Comparison, compareWithDnsmasq } from "./lookups.ts";
import { measurePackets } from "./packets.ts";
import { measurePortScan } from "./port-scan.ts";
import { measureWatchers } from "./watchers.ts";

const { values } = parseArgs({
  options: { rounds: { type: "string", default: "5" }, seconds: { type: "string", default: "2" } },
});
const number = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const row = (what: string, value: string): void =>
  void process.stdout.write(`  ${`${what} `.padEnd(34)}${value.padStart(12)}\n`);
const heading = (text: string): void => void process.stdout.write(`\n${text}\n`);

const compared = ({ proxy, dnsmasq }: Comparison): void => {
  row("tidesman", number.format(proxy.rate));
  row("dnsmasq", number.format(dnsmasq.rate));
  row("ratio", `${(proxy.rate / dnsmasq.rate).toFixed(2)} x`);
  row("p50 and p99, tidesman (µs)", `${proxy.p50} / ${proxy.p99}`);
  row("p50 and p99, dnsmasq (µs)", `${dnsmasq.p50} / ${dnsmasq.p99}`);
  row("CPU per lookup, tidesman (µs)", proxy.cpu.toFixed(1));
  row("CPU per lookup, dnsmasq (µs)", dnsmasq.cpu.toFixed(1));
};

heading("policy engine, decisions per second (1,000 denied names, feeds of 100,000 names and addresses)");
const decisions = measureDecisions();
row("lookups", number.format(decisions.lookups));
row("connections", number.format(decisions.connections));
row("lookups, of a Set's suffix walk", `${(decisions.lookups / decisions.suffixWalks).toFixed(2)} x`);

const feeds = ({
  real,
  names,
  table,
  stored,
  build,
  sort,
  sortShuffled,
  open,
  miss,
  hit,
  explained,
}: FeedFigures): void => {
  heading(`index of feeds with ${number.format(names)} names (${real ? "real" : "derived"})`);
  row("bytes per name", (table + stored).toFixed(2));
  row("  directory and codes, buckets", `${table.toFixed(2)}, ${stored.toFixed(2)}`);
  row(
    "build (ms), of sort -u as it is / shuffled",
    `${number.format(build)}, ${(build / sort).toFixed(2)} x / ${(build / sortShuffled).toFixed(2)} x`,
  );
  row("open (ms)", open.toFixed(0));
  for (const [what, figures] of [["miss", miss] as const, ["hit", hit] as const]) {
    const { index, portable, hashAndRead, suffixWalk } = figures;
    row(`${what} (ns), without the addon`, `${number.format(index)}, ${number.format(portable)}`);
    row("  of one hash and random read", `${(index / hashAndRead).toFixed(2)} x`);
    row("  Set's suffix walk of it", `${(suffixWalk / index).toFixed(1)} x`);
  }
  row("hit with its text (ns)", number.format(explained));
};
heading("detectors, nanoseconds per event");
const detectors = measureDetectors();
const scans = measurePortScan();
row(
  "data in names: usual, new",
  `${number.format(detectors.exfiltration)}, ${number.format(detectors.exfiltrationNew)}`,
);
row("  whether a lookup is suspicious", number.format(detectors.suspicious));
row(
  "generated names: usual, new",
  `${number.format(detectors.generatedNames)}, ${number.format(detectors.generatedNamesNew)}`,
);
row("port scans: known target", number.format(scans.repeated));
row("  first contact: answered, failed", `${number.format(scans.answered)}, ${number.format(scans.failed)}`);

const watchers = measureWatchers();
row("rebinding: one address of an answer", watchers.rebinding.toFixed(1));
row("encrypted DNS: one connection", watchers.encryptedDNS.toFixed(1));
row("raw sockets: one line of the trace", number.format(watchers.trace));
row("incidents: one finding", number.format(watchers.incidents));
if (watchers.listeners !== null && watchers.rawTables !== null && watchers.share !== null) {
  row("listening ports: a look into a namespace (µs)", watchers.listeners.toFixed(1));
  row("raw sockets: a look into its tables (µs)", watchers.rawTables.toFixed(1));
  row("  of a core for 200 namespaces", `${(watchers.share * 100).toFixed(2)} %`);
}

feeds(measureFeeds(1));
feeds(measureFeeds(5));

if (process.getuid?.() !== 0) {
  process.stdout.write("\nThe rest needs root: it makes network namespaces of its own.\n");
} else {
  const { cached, forwarded } = await compareWithDnsmasq(Number(values.rounds), Number(values.seconds));
  heading("cached answers per second, one core each for server and generator");
  compared(cached);
  heading("forwarded lookups per second, every name a new one, one core for the server");
  compared(forwarded);

  const held = await measureHolding(Number(values.seconds));
  heading(
    `${number.format(held.names)} listed names held: memory it adds (MB), seconds to start, cached lookups/s`,
  );
  for (const [name, server] of Object.entries({
    tidesman: held.proxy,
    dnsmasq: held.dnsmasq,
    unbound: held.unbound,
  })) {
    if (server === null) row(name, "not here");
    else
      row(name, `${number.format(server.added)}, ${server.start.toFixed(1)}, ${number.format(server.rate)}`);
  }
  row("artefact: write, read (ms)", `${number.format(held.write)}, ${number.format(held.read)}`);
  row("taken over by the data path (ms)", held.takeOver.toFixed(2));
  for (const [what, rates] of [
    ["", held.calm],
    [", lists being taken over", held.swapping],
  ] as const) {
    row(
      `20,000 lookups/s by the clock${what}: p99, slowest (µs), unanswered`,
      `${number.format(rates.p99)}, ${number.format(rates.most)}, ${rates.unanswered}`,
    );
  }
  row(
    "daemon: idle, with the list, after an update (MB)",
    ` ${Object.values(held.daemon).map(number.format).join(", ")}`,
  );

  heading("new UDP flows through a container bridge");
  const { bare, guarded, verdicts, microseconds } = await measurePackets();
  row("flows/s, no rules", number.format(bare.rate));
  row("flows/s, every flow decided", number.format(guarded.rate));
  row("delivered, no rules", `${((100 * bare.delivered) / bare.sent).toFixed(1)} %`);
  row("delivered, every flow decided", `${((100 * guarded.delivered) / guarded.sent).toFixed(1)} %`);
  row("decided of sent", `${((100 * verdicts) / guarded.sent).toFixed(1)} %`);
  row("CPU per verdict (µs)", microseconds.toFixed(1));
}
