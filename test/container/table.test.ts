import fc from "fast-check";
import t from "tap";
import { ipv4Key, parseAddress } from "../../src/address.ts";
import { ContainerTable } from "../../src/container/table.ts";
import type { Container } from "../../src/container/types.ts";

function container(
  id: string,
  more: Partial<Container> & { veth?: number; addresses?: readonly string[] } = {},
): Container {
  const { veth = 0, addresses = [], ...rest } = more;
  return {
    id,
    name: id,
    image: "",
    imageDigest: "",
    namespace: null,
    labels: {},
    state: "running",
    pid: 1,
    startedAt: 1,
    networkNamespace: "",
    networkMode: "default",
    networks: [{ id: "n", name: "n", bridge: "docker0", vethIndex: veth, veth: `veth${veth}`, addresses }],
    ...rest,
  };
}

const bytesOf = (address: string): Uint8Array => {
  const bytes = parseAddress(address);
  if (bytes === null) throw new Error(address);
  return bytes;
};
const byText = (table: ContainerTable, address: string) => {
  const bytes = bytesOf(address);
  return table.byAddress(bytes, 0, bytes.length);
};

t.test("found by veth, by address, by id", async (t) => {
  const table = new ContainerTable();
  const resident = table.upsert(
    container("a", { veth: 7, addresses: ["172.17.0.2", "2001:db8::2", "fe80::2"] }),
  );
  t.equal(table.byVeth(7), resident);
  t.equal(byText(table, "172.17.0.2"), resident);
  t.equal(table.byIpv4(ipv4Key(bytesOf("172.17.0.2"))), resident);
  t.equal(byText(table, "2001:db8::2"), resident);
  t.equal(byText(table, "fe80::2"), undefined, "link-local addresses name nobody");
  t.equal(table.byVeth(0), undefined);
  t.equal(table.size, 1);
  t.same([...table], [resident]);
  table.upsert(container("a", { veth: 8, addresses: ["172.17.0.3"] }));
  t.equal(table.byVeth(7), undefined);
  t.equal(byText(table, "172.17.0.2"), undefined);
  t.equal(byText(table, "172.17.0.3"), resident, "the same life is the same resident");
  t.equal(table.remove("a"), resident);
  t.equal(table.remove("a"), undefined);
  t.equal(byText(table, "172.17.0.3"), undefined);
});

t.test("a life is one start time, and none is known while it begins", async (t) => {
  const table = new ContainerTable();
  const starting = table.upsert(container("a", { startedAt: 0 }));
  t.equal(table.upsert(container("a", { startedAt: 5 })), starting);
  t.equal(table.upsert(container("a", { startedAt: 0 })), starting);
  const next = table.upsert(container("a", { startedAt: 6 }));
  t.not(next, starting, "although the time was unknown in between");
  t.ok(next.generation > starting.generation);
  t.equal(next.slot, starting.slot);
  t.equal(table.size, 1);
});

t.test("an address that moved stays with its new owner when the old one goes", async (t) => {
  const table = new ContainerTable();
  table.upsert(container("a", { addresses: ["172.17.0.2"] }));
  const b = table.upsert(container("b", { addresses: ["172.17.0.2"] }));
  table.remove("a");
  t.equal(byText(table, "172.17.0.2"), b);
});

t.test("a blocked container is cut from the start, in every life, until it is let go", async (t) => {
  const table = new ContainerTable();
  const first = table.upsert(container("a"));
  t.notOk(first.cut);
  first.cut = true;
  t.ok(table.upsert(container("a", { startedAt: 2 })).cut, "another life does not end the cut");
  table.remove("a");
  t.ok(table.upsert(container("a", { startedAt: 3, state: "blocked" })).cut);
  table.remove("a");
  t.notOk(table.upsert(container("a", { startedAt: 4 })).cut);
});

t.test("agrees with a table of keys that is searched from end to end", async () => {
  const ids = ["a", "b", "c", "d"];
  const addresses = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "2001:db8::1", "2001:db8::2"];
  const step = fc.record({
    id: fc.constantFrom(...ids),
    remove: fc.boolean(),
    startedAt: fc.nat(2),
    veth: fc.nat(4),
    addresses: fc.uniqueArray(fc.constantFrom(...addresses), { maxLength: 3 }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const table = new ContainerTable();
      // Where two claim a key, the one told last has it; what it gives up is nobody's until it is told again.
      let keys: { key: string; id: string }[] = [];
      const present = new Set<string>();
      for (const { id, remove, ...facts } of steps) {
        keys = keys.filter((each) => each.id !== id);
        if (remove) {
          present.delete(id);
          table.remove(id);
        } else {
          present.add(id);
          const claimed = [...facts.addresses, ...(facts.veth === 0 ? [] : [`veth ${facts.veth}`])];
          keys = keys.filter(({ key }) => !claimed.includes(key));
          keys.push(...claimed.map((key) => ({ key, id })));
          table.upsert(container(id, facts));
        }
        const owner = (key: string) => keys.find((each) => each.key === key)?.id;
        for (const each of addresses) if (byText(table, each)?.container.id !== owner(each)) return false;
        for (let veth = 0; veth <= 4; veth++) {
          if (table.byVeth(veth)?.container.id !== owner(`veth ${veth}`)) return false;
        }
        for (const each of ids)
          if (table.byId(each)?.container.id !== (present.has(each) ? each : undefined)) return false;
        const slots = [...table].map(({ slot }) => slot);
        if (table.size !== present.size || new Set(slots).size !== slots.length) return false;
        if (slots.some((slot) => slot >= ids.length)) return false;
      }
      return true;
    }),
  );
});
