import fc from "fast-check";
import t from "tap";
import { BitWriter, codeTables, learnCodes, NameCoder } from "../../src/feed/name-code.ts";
import { nameToWire } from "../../src/name.ts";

const label = fc.stringMatching(/^[a-z0-9_-]{1,20}$/);
const name = fc.array(label, { minLength: 2, maxLength: 5 }).map((labels) => labels.join("."));

t.test("coded names are told apart and read back, whatever the codes were learned from", async () => {
  fc.assert(
    fc.property(
      fc.array(name, { maxLength: 30 }),
      fc.array(name, { minLength: 1, maxLength: 30 }),
      fc.nat(31),
      (learned, names, first) => {
        const sample = Buffer.from(
          learned
            .map((text) => `${text}\n`)
            .join("")
            .repeat(50),
        );
        const coder = new NameCoder(codeTables(learnCodes(sample)));
        const bits = new BitWriter();
        const places = names.map((text) => {
          const place = bits.align();
          bits.add(0, first);
          coder.encode(Buffer.from(`${text}\n`), 0);
          bits.addCode(coder.bits, 0, coder.length);
          return place;
        });
        const words = new Uint16Array(bits.words().buffer);
        const out = new Uint8Array(256);
        for (const [number, place] of places.entries()) {
          const length = coder.decode(words, place, first, out, 0);
          const text = Buffer.from(out.subarray(0, length)).toString("latin1");
          if (text !== `${names[number]}\n`) throw new Error(`${text} instead of ${names[number]}`);
          for (const other of names) {
            const wire = nameToWire(other.toUpperCase())!;
            const same = coder.equals(words, place, first, wire, 0, wire.length - 1);
            if (same !== (other === names[number])) throw new Error(`${other} and ${names[number]}: ${same}`);
          }
        }
      },
    ),
    { numRuns: 200 },
  );
});

t.test("bytes that no stored name has equal none", async (t) => {
  const coder = new NameCoder(codeTables(learnCodes(new Uint8Array())));
  coder.encode(Buffer.from("a.b\n"), 0);
  const bits = new BitWriter();
  bits.addCode(coder.bits, 0, coder.length);
  const words = new Uint16Array(bits.words().buffer);
  const equals = (wire: number[]): boolean =>
    coder.equals(words, 0, 0, Uint8Array.from(wire), 0, wire.length - 1);
  t.ok(equals([1, 97, 1, 98, 0]));
  t.ok(equals([1, 65, 1, 66, 0]));
  t.notOk(equals([3, 97, 46, 98, 0]), "a dot inside a label");
  t.notOk(equals([3, 97, 10, 98, 0]), "a line feed");
  t.notOk(equals([1, 97, 1, 226, 0]));
  t.notOk(equals([1, 97, 2, 98, 98, 0]));
  t.notOk(equals([1, 97, 0]));
});

t.test("no code is longer than 15 bits, however skewed the sample", async (t) => {
  // Each character twice as often as the one before it: a tree as deep as the alphabet.
  const sample = Buffer.from(
    [..."abcdefghijklmnopqrs"].map((char, index) => char.repeat(2 ** index)).join(""),
  );
  const { lengths } = learnCodes(sample);
  t.ok(lengths.every((length) => length >= 1 && length <= 15));
  for (let set = 0; set < lengths.length; set += 40) {
    const used = lengths.subarray(set, set + 40).reduce((sum, length) => sum + 2 ** -length, 0);
    if (used !== 1) t.equal(used, 1, "every set is a whole tree");
  }
});
