import fc from "fast-check";
import t from "tap";
import { parseAddress } from "../../src/address.ts";
import { ContainerTable, type Resident } from "../../src/container/table.ts";
import { Provenance } from "../../src/dns/provenance.ts";
import { nameToWire } from "../../src/name.ts";

const MINUTE = 60_000;

function resident(id: string, table = new ContainerTable(), startedAt = 1): Resident {
  return table.upsert({
    id,
    name: id,
    image: "i",
    imageDigest: "d",
    namespace: null,
    labels: {},
    state: "running",
    pid: 1,
    startedAt,
    networkNamespace: "",
    networks: [],
    networkMode: "bridge",
  });
}
const bytes = (text: string): Uint8Array => parseAddress(text) ?? new Uint8Array();
const ipv4 = (number: number): Uint8Array => Uint8Array.of(10, number >> 16, number >> 8, number);

const named = (text: string): Uint8Array => nameToWire(text) ?? new Uint8Array();

/** Binds the addresses to names, the one asked for first. */
function bind(
  provenance: Provenance,
  to: Resident,
  [name = "", ...aliases]: readonly string[],
  addresses: readonly Uint8Array[],
  ttl: number,
  now: number,
): void {
  provenance.bind(to, named(name), aliases.map(named), addresses, ttl, now);
}

function names(provenance: Provenance, of: Resident, address: Uint8Array, now: number): readonly string[] {
  return provenance.names(of, address, 0, address.length, now);
}

t.test("most recent first, the asked name before its aliases, of both families", async (t) => {
  const provenance = new Provenance(7);
  const c = resident("c");
  bind(provenance, c, ["a.example", "cdn.example"], [bytes("198.51.100.7"), bytes("2001:db8::7")], 60, 0);
  bind(provenance, c, ["b.example"], [bytes("198.51.100.7")], 60, 1);
  t.same(names(provenance, c, bytes("198.51.100.7"), 2), ["b.example", "a.example", "cdn.example"]);
  t.same(names(provenance, c, bytes("2001:db8::7"), 2), ["a.example", "cdn.example"]);
  t.equal(
    names(provenance, c, bytes("198.51.100.8"), 2),
    names(provenance, c, bytes("198.51.100.9"), 2),
    "a miss makes nothing",
  );
});

t.test("all that is held, as text, and no longer for it", async (t) => {
  const provenance = new Provenance(7);
  const table = new ContainerTable();
  const c = resident("c", table);
  t.same(provenance.held(c, 0), []);
  bind(provenance, c, ["a.example", "cdn.example"], [bytes("198.51.100.7"), bytes("2001:db8::ff07")], 60, 0);
  bind(provenance, c, ["b.example"], [bytes("255.1.2.3")], 60, MINUTE);
  t.same(provenance.held(c, 2 * MINUTE), [
    { name: "b.example", addresses: ["255.1.2.3"] },
    { name: "a.example", addresses: ["2001:db8::ff07", "198.51.100.7"] },
    { name: "cdn.example", addresses: ["2001:db8::ff07", "198.51.100.7"] },
  ]);
  t.same(provenance.held(c, 10 * MINUTE), [{ name: "b.example", addresses: ["255.1.2.3"] }]);
  t.same(provenance.held(resident("another", table), 0), []);
});

t.test("a binding lives ten minutes, or its TTL and one, and longer while it is used", async (t) => {
  const provenance = new Provenance(7);
  const c = resident("c");
  const address = bytes("198.51.100.7");
  bind(provenance, c, ["short.example"], [address], 0, 0);
  t.equal(names(provenance, c, address, 9 * MINUTE).length, 1, "used: ten minutes more");
  t.equal(names(provenance, c, address, 18 * MINUTE).length, 1);
  t.equal(names(provenance, c, address, 29 * MINUTE).length, 0);
  bind(provenance, c, ["long.example"], [address], 3600, 0);
  provenance.sweep(61 * MINUTE - 1);
  t.equal(provenance.count, 1);
  provenance.sweep(61 * MINUTE);
  t.equal(provenance.count, 0);
});

t.test("nothing is shared, nothing outlives the container", async (t) => {
  const table = new ContainerTable();
  const provenance = new Provenance(7);
  const [a, b] = [resident("a", table), resident("b", table)];
  bind(provenance, a, ["a.example"], [bytes("198.51.100.7")], 60, 0);
  t.same(names(provenance, b, bytes("198.51.100.7"), 0), []);
  const again = resident("a", table, 2);
  t.not(again.generation, a.generation);
  t.same(names(provenance, again, bytes("198.51.100.7"), 0), []);
  provenance.forget(a);
  t.equal(provenance.count, 0);
  bind(provenance, again, ["a.example"], [bytes("198.51.100.7")], 60, 0);
  provenance.forget(a);
  t.equal(provenance.count, 1, "the old life's end does not touch the new one");
});

t.test("caps: the longest unused go first, and only lost addresses end shortcuts", async (t) => {
  const provenance = new Provenance(7);
  const c = resident("c");
  for (let index = 0; index < 300; index++)
    bind(provenance, c, ["rotating.example"], [ipv4(index)], 60, index);
  t.equal(provenance.count, 256);
  t.same(names(provenance, c, ipv4(0), 300), []);
  t.same(names(provenance, c, ipv4(299), 300), ["rotating.example"]);
  for (let index = 0; index < 100; index++) bind(provenance, c, [`n${index}.example`], [ipv4(999)], 60, 300);
  t.equal(names(provenance, c, ipv4(999), 300).length, 64);
  t.equal(names(provenance, c, ipv4(999), 300)[0], "n99.example");
  t.equal(provenance.epoch(c), 0);
  names(provenance, c, ipv4(50), 301);
  for (let index = 0; index < 4000; index++)
    bind(provenance, c, [`m${index}.example`], [ipv4(1000 + index)], 60, 400);
  t.equal(provenance.count, 4096);
  t.not(provenance.epoch(c), 0);
  t.same(names(provenance, c, ipv4(50), 401), ["rotating.example"], "what was used lately stays");
  t.same(names(provenance, c, ipv4(51), 401), []);
});

t.test("names whose hashes are the same stay apart, also when one of them goes", async (t) => {
  // Found by search for this seed.
  const twins = ["zqtwnbd291uuh.example", "h0ceti88slve.example"];
  for (const [first = "", second = ""] of [twins, twins.toReversed()]) {
    const provenance = new Provenance(7);
    const c = resident("c");
    bind(provenance, c, [first], [ipv4(1)], 0, 0);
    bind(provenance, c, [second], [ipv4(2)], 3600, 0);
    t.same(names(provenance, c, ipv4(1), 1), [first]);
    t.same(names(provenance, c, ipv4(2), 1), [second]);
    provenance.sweep(11 * MINUTE);
    t.equal(provenance.count, 1);
    bind(provenance, c, [second], [ipv4(2), ipv4(3)], 60, 12 * MINUTE);
    bind(provenance, c, [first], [ipv4(3)], 60, 12 * MINUTE);
    t.same(names(provenance, c, ipv4(3), 12 * MINUTE), [first, second]);
    t.equal(provenance.count, 3);
  }
});

t.test("agrees with a list of everything ever bound", async () => {
  const table = new ContainerTable();
  const residents = [resident("a", table), resident("b", table)];
  fc.assert(
    fc.property(
      fc.array(
        fc.record({
          who: fc.nat(1),
          name: fc.nat(5),
          address: fc.nat(5),
          ttl: fc.nat(2000),
          wait: fc.nat(5 * MINUTE),
          read: fc.boolean(),
          sweep: fc.boolean(),
        }),
        { maxLength: 60 },
      ),
      (steps) => {
        const provenance = new Provenance(7);
        let list: { who: number; name: string; address: number; expires: number }[] = [];
        let now = 0;
        for (const { who, name, address, ttl, wait, read, sweep } of steps) {
          now += wait;
          if (sweep) provenance.sweep(now);
          const about = list.filter(
            (item) => item.who === who && item.address === address && item.expires > now,
          );
          if (read) {
            const found = names(provenance, residents[who]!, ipv4(address), now);
            if (found.join() !== about.map((item) => item.name).join()) return false;
            for (const item of about) item.expires = Math.max(item.expires, now + 10 * MINUTE);
            continue;
          }
          const text = `n${name}.example`;
          bind(provenance, residents[who]!, [text], [ipv4(address)], ttl, now);
          const old = about.find((item) => item.name === text);
          const expires = Math.max(now + Math.max(ttl * 1000 + MINUTE, 10 * MINUTE), old?.expires ?? 0);
          list = list.filter((item) => !(item.who === who && item.address === address && item.name === text));
          list.unshift({ who, name: text, address, expires });
        }
        return true;
      },
    ),
    { numRuns: 300 },
  );
});
