import fc from "fast-check";
import t from "tap";
import { getDomain } from "tldts";
import { label, labelPayload } from "../../src/detect/label-payload.ts";
import { LETTER_PAIRS } from "../../src/detect/letter-pairs.ts";
import { CLASSES, chanceBits, wordBits } from "../../src/detect/lexical.ts";
import { isBelowPrivateSuffix, registrableAt } from "../../src/detect/registrable.ts";
import { nameToWire, wireToName } from "../../src/name.ts";

const chance = (text: string): number => chanceBits(Buffer.from(text), 0, text.length);
const payload = (text: string): number => labelPayload(Buffer.from(text), 0, text.length);

t.test("the table has a cost for every pair, and words are cheaper than chance", async (t) => {
  t.equal(LETTER_PAIRS.length, CLASSES * CLASSES);
  for (const word of ["weatherstation", "marketing", "shop", "information", "garden"])
    t.ok(chance(word) < 3, `${word} ${chance(word)}`);
  for (const noise of ["xqjzkvwp", "fcoaonbtoscq", "zttaetqbarkdtlpnhm", "4f9q2x7kz1"])
    t.ok(chance(noise) > 6, `${noise} ${chance(noise)}`);
});

t.test("costs are finite for any bytes", async () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 63 }), (bytes) => {
      const bits = wordBits(bytes, 0, bytes.length);
      const carried = labelPayload(bytes, 0, bytes.length);
      return Number.isFinite(bits) && bits >= 0 && carried >= 0 && carried <= bytes.length;
    }),
  );
});

t.test("what a label carries", async (t) => {
  t.ok(payload("telemetry") < 3);
  t.ok(payload("203") < 1.5, "a part of an address is a byte");
  t.ok(payload("a") < 1);
  t.equal(payload("d41d8cd98f00b204"), 16);
  t.ok(label.hexadecimal);
  t.equal(payload("mzxw6ytboi4dqzlzfzwg63tfoi"), 26);
  t.notOk(label.hexadecimal);
  t.equal(labelPayload(Uint8Array.of(200, 201, 97), 0, 3), 3);
  t.ok(label.binary);
});

t.test("registrable domains are those that tldts finds", async (t) => {
  const options = {
    allowPrivateDomains: true,
    detectIp: false,
    validateHostname: false,
    extractHostname: false,
  };
  const part = fc.constantFrom(
    ..."a b www com uk co ck jp kobe city kawasaki github io amazonaws s3 us-east-1 compute cloudfront net test".split(
      " ",
    ),
    ..."cluster local in-addr arpa no-ip dyndns org blob core windows".split(" "),
  );
  fc.assert(
    fc.property(fc.array(part, { minLength: 1, maxLength: 7 }), (parts) => {
      const name = parts.join(".");
      const wire = Uint8Array.from([9, 9, ...nameToWire(name)!]);
      const at = registrableAt(wire, 2);
      const found = at < 0 ? null : wireToName(wire, at);
      return found === getDomain(name, options);
    }),
    { numRuns: 5000 },
  );
  const below = (name: string): boolean => isBelowPrivateSuffix(nameToWire(name)!, 0);
  t.ok(below("d1.cloudfront.net"));
  t.notOk(below("a.co.uk"));
  t.notOk(below("a.internal"));
});
