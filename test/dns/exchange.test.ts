import fc from "fast-check";
import t from "tap";
import { Exchange, Exchanges, type Waiter } from "../../src/dns/exchange.ts";

/** A waiter for a name of one letter, whose hash is chosen so that some share a chain, and some their hash. */
function waiter(letter: number, kind: number): Waiter {
  const key = Uint8Array.of(1, 97 + letter, 0);
  const hash = (letter % 3) * 1024;
  return { key, nameLength: 3, kind, hash, head: key, canBeStale: false, settle: () => undefined };
}

t.test("finds what a list of exchanges finds, also where hashes are the same", async () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.record({ letter: fc.nat(8), kind: fc.constantFrom(256, 257, 7168), remove: fc.boolean() }),
        {
          maxLength: 80,
        },
      ),
      (steps) => {
        const exchanges = new Exchanges(16);
        let list: Exchange[] = [];
        for (const { letter, kind, remove } of steps) {
          const asked = waiter(letter, kind);
          const expected = list.find(({ first }) => first.kind === kind && first.key[1] === asked.key[1]);
          if (exchanges.find(asked) !== (expected ?? null)) return false;
          if (expected === undefined) {
            const exchange = new Exchange(asked, 0, 1, 2);
            exchanges.add(exchange);
            list.push(exchange);
          } else if (remove) {
            exchanges.remove(expected);
            exchanges.remove(expected);
            list = list.filter((one) => one !== expected);
          }
          if (exchanges.size !== list.length || exchanges.all().length !== list.length) return false;
        }
        return true;
      },
    ),
    { numRuns: 200 },
  );
});
