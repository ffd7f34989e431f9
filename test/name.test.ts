import fc from "fast-check";
import t from "tap";
import { MAX_LABEL, MAX_NAME, nameToWire, wireLength, wireToName } from "../src/name.ts";

const bytes = (text: string): number[] => Array.from(text, (char) => char.charCodeAt(0));

t.test("names become length-prefixed labels, folded", async (t) => {
  t.same(nameToWire("Example.COM"), Uint8Array.of(7, ...bytes("example"), 3, ...bytes("com"), 0));
  t.same(nameToWire("example.com."), nameToWire("example.com"), "a final dot says the same");
  t.same(nameToWire("."), Uint8Array.of(0));
  t.same(nameToWire("_a-b.c"), Uint8Array.of(4, ...bytes("_a-b"), 1, ...bytes("c"), 0));
});

t.test("escapes are read", async (t) => {
  t.same(nameToWire("a\\.b.c"), Uint8Array.of(3, ...bytes("a.b"), 1, ...bytes("c"), 0));
  t.same(nameToWire("\\255\\000.c"), Uint8Array.of(2, 255, 0, 1, ...bytes("c"), 0));
  t.same(nameToWire("\\065.c"), nameToWire("a.c"), "an escaped letter is folded too");
  t.same(
    nameToWire("a\\\\."),
    Uint8Array.of(2, ...bytes("a\\"), 0),
    "an escaped backslash does not escape the dot",
  );
  t.equal(nameToWire("a\\"), null);
  t.equal(nameToWire("a\\256"), null);
});

t.test("what is no name is refused", async (t) => {
  for (const text of ["", "..", ".a", "a..b", "a...", `${"a".repeat(64)}.b`, "a\\999"]) {
    t.equal(nameToWire(text), null, text);
  }
});

t.test("limits are exact", async (t) => {
  t.equal(nameToWire("a".repeat(MAX_LABEL))?.length, 65);
  const label = `${"a".repeat(63)}.`;
  t.equal(nameToWire(`${label.repeat(3)}${"b".repeat(61)}`)?.length, MAX_NAME);
  t.equal(nameToWire(`${label.repeat(3)}${"b".repeat(62)}`), null);
  t.equal(nameToWire("a.".repeat(127))?.length, MAX_NAME);
  t.equal(nameToWire("a.".repeat(128)), null);
});

t.test("IDNs become A-labels, and are not read as URLs", async (t) => {
  t.same(nameToWire("bücher.example"), nameToWire("xn--bcher-kva.example"));
  t.same(nameToWire("BÜCHER。example"), nameToWire("xn--bcher-kva.example"), "ideographic full stop");
  const notNames = [
    "bü.example/path",
    "bü.example:80",
    "user@bü.example",
    "bü\ncher.example",
    "ü%41.example",
  ];
  for (const text of [...notNames, "bü#x", "b ü", "bü..example"]) t.equal(nameToWire(text), null, text);
});

t.test("wire to text and back is the same name", async () => {
  const label = fc.uint8Array({ minLength: 1, maxLength: 20 });
  fc.assert(
    fc.property(fc.array(label, { maxLength: 10 }), fc.nat(5), (labels, offset) => {
      const wire = Uint8Array.from([...labels.flatMap((part) => [part.length, ...part]), 0]);
      const shifted = Uint8Array.from([...new Array<number>(offset).fill(9), ...wire, 7, 7]);
      const folded = wire.map((byte, index) =>
        isLabelByte(wire, index) && byte >= 65 && byte <= 90 ? byte | 32 : byte,
      );
      const back = nameToWire(wireToName(shifted, offset));
      return (
        wireLength(shifted, offset) === wire.length && back !== null && Buffer.compare(back, folded) === 0
      );
    }),
  );
});

function isLabelByte(wire: Uint8Array, index: number): boolean {
  for (let at = 0; at < wire.length; at += wire[at]! + 1) if (at === index) return false;
  return true;
}

t.test("any text and any bytes end", async () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 300 }), (text) => {
      const wire = nameToWire(text);
      return wire === null || (wire.length <= MAX_NAME && wireLength(wire) === wire.length);
    }),
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (wire) => {
      wireToName(wire);
      return wireLength(wire) <= wire.length;
    }),
  );
});
