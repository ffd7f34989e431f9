import t from "tap";
import { formatAddress, parseAddress } from "../../src/address.ts";
import { ManualClock } from "../../src/clock.ts";
import { createFakeNative } from "../../src/native/fake.ts";
import { FlowOutcomes } from "../../src/packet/outcomes.ts";
import { type ParsedPacket, parsedPacket } from "../../src/packet/parse.ts";

const SOURCE = "172.17.0.2";
const PLAIN = { dropped: false, named: false };

/** The first packet of a flow, and the bytes that hold its addresses. */
function flowTo(destination: string, port: number, sourcePort = 40_000): [ParsedPacket, Uint8Array] {
  const to = parseAddress(destination) ?? new Uint8Array(4);
  const from = parseAddress(to.length === 4 ? SOURCE : "2001:db8::2") ?? new Uint8Array(4);
  const packet: ParsedPacket = {
    ...parsedPacket(),
    addressLength: to.length === 4 ? 4 : 16,
    sourceOffset: 0,
    destinationOffset: to.length,
    protocol: 6,
    hasPorts: true,
    sourcePort,
    destinationPort: port,
  };
  return [packet, Uint8Array.from([...from, ...to])];
}

function setUp() {
  const clock = new ManualClock();
  const native = createFakeNative(clock);
  const ended: string[] = [];
  const errors: Error[] = [];
  const outcomes = new FlowOutcomes<string>({
    native,
    clock,
    ended: ({ owner, end, bytes, offset, length, port, protocol, named }) => {
      const to = formatAddress(bytes, offset, length);
      ended.push(`${owner} ${end} ${protocol} ${to} ${port}${named ? " named" : ""}`);
    },
    failed: (error) => errors.push(error),
  });
  const open = (destination: string, port: number, answered: boolean): void => {
    const source = destination.includes(":") ? "2001:db8::2" : SOURCE;
    native.flows.push({ source, destination, port, protocol: 6, sourcePort: 40_000, mark: 0, answered });
  };
  return { clock, native, ended, errors, outcomes, open };
}

t.test("each flow ends once, in its way, in the order of their beginnings", async (t) => {
  const { clock, ended, outcomes, open } = setUp();
  open("198.51.100.1", 80, true);
  open("198.51.100.2", 80, false);
  open("2001:db8:1::1", 80, true);
  outcomes.add("a", ...flowTo("198.51.100.1", 80), PLAIN);
  outcomes.add("a", ...flowTo("198.51.100.2", 80), { dropped: false, named: true });
  outcomes.add("b", ...flowTo("198.51.100.3", 80), PLAIN);
  outcomes.add("b", ...flowTo("2001:db8:1::1", 80), { dropped: true, named: false });
  outcomes.add("b", ...flowTo("2001:db8:1::1", 80), PLAIN);
  clock.advance(1900);
  t.strictSame(ended, []);
  t.equal(outcomes.stats.waiting, 5);
  clock.advance(200);
  t.strictSame(ended, [
    "a answered 6 198.51.100.1 80",
    "a silent 6 198.51.100.2 80 named",
    "b refused 6 198.51.100.3 80",
    "b prevented 6 2001:db8:1::1 80",
    "b answered 6 2001:db8:1::1 80",
  ]);
  t.match(outcomes.stats, {
    waiting: 0,
    answered: 2,
    refused: 1,
    silent: 1,
    prevented: 1,
    unasked: 0,
    unknown: 0,
  });
  outcomes.add("a", ...flowTo("198.51.100.1", 80), PLAIN);
  clock.advance(3000);
  t.equal(ended.length, 6, "the timer starts again");
});

t.test("an owner has its share of the room, and all of it comes back", async (t) => {
  const { clock, ended, outcomes } = setUp();
  for (let round = 0; round < 5; round++) {
    for (let port = 0; port < 2000; port++) outcomes.add("a", ...flowTo("198.51.100.2", port), PLAIN);
    outcomes.add("b", ...flowTo("198.51.100.2", 80), PLAIN);
    clock.advance(10_000);
    t.equal(ended.filter((line) => line.startsWith("a")).length, 1024);
    t.equal(ended.length, 1025);
    ended.length = 0;
  }
  t.match(outcomes.stats, { waiting: 0, unasked: 5 * (2000 - 1024) });
});

t.test("what is beyond all room is counted", async (t) => {
  const { clock, ended, outcomes } = setUp();
  for (let index = 0; index < 5000; index++)
    outcomes.add(`c${index % 100}`, ...flowTo("198.51.100.2", index), PLAIN);
  clock.advance(10_000);
  t.equal(ended.length, 4096);
  t.equal(outcomes.stats.unasked, 5000 - 4096);
});

t.test("an owner that is gone is not told of", async (t) => {
  const { clock, ended, outcomes, open } = setUp();
  open("198.51.100.2", 80, false);
  outcomes.add("a", ...flowTo("198.51.100.2", 80), PLAIN);
  outcomes.add("a", ...flowTo("198.51.100.3", 80), PLAIN);
  outcomes.forget("a");
  clock.advance(1500);
  outcomes.add("b", ...flowTo("198.51.100.2", 80), PLAIN);
  clock.advance(1500);
  outcomes.forget("b");
  clock.advance(10_000);
  t.strictSame(ended, []);
  t.equal(outcomes.stats.waiting, 0);
});

t.test("a kernel that does not say is told once, and nobody is blamed", async (t) => {
  const { clock, ended, errors, native, outcomes } = setUp();
  for (let round = 0; round < 2; round++) {
    native.failNext("conntrackStates", new Error("not supported"));
    outcomes.add("a", ...flowTo("198.51.100.2", 80), PLAIN);
    clock.advance(3000);
  }
  t.strictSame(
    errors.map(({ message }) => message),
    ["not supported"],
  );
  t.strictSame(ended, []);
  t.equal(outcomes.stats.unknown, 2);
  outcomes.add("a", ...flowTo("198.51.100.2", 80), PLAIN);
  outcomes.close();
  clock.advance(3000);
  t.strictSame(ended, []);
});
