import fc from "fast-check";
import t from "tap";
import {
  bytes,
  cut,
  number,
  plural,
  shortDigest,
  shortId,
  table,
  wrap,
} from "../../src/control/cli/layout.ts";
import { Output } from "../../src/control/cli/output.ts";
import { formatDuration, parseMoment } from "../../src/control/moment.ts";
import { printable } from "../../src/control/printable.ts";
import { parseTarget } from "../../src/control/target.ts";

t.test("what a container wrote does not control a terminal", async (t) => {
  t.equal(printable("a\u001b[31mb\u0007\r\n\u202ec\u0085"), "a\\x1b[31mb\\x07\\x0d\\x0a\\u{202e}c\\x85");
  t.equal(printable("bücher.example 東京"), "bücher.example 東京");
  const plain = (text: string): string => text;
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 0x2fff })), (codes) => {
      const text = String.fromCharCode(...codes);
      const lines = table([{ title: "A", flexible: true }, { title: "B" }], [[text, text]], 40, plain);
      // biome-ignore lint/suspicious/noControlCharactersInRegex: there should be none.
      return lines.every((line) => !/[\u0000-\u001f\u007f-\u009f\u202e]/.test(line));
    }),
  );
});

t.test("wrapped text keeps its words and its width", async () => {
  fc.assert(
    fc.property(
      fc.array(fc.stringMatching(/^[a-z.:]{1,100}$/)),
      fc.integer({ min: 10, max: 120 }),
      (words, width) => {
        const lines = wrap(words.join(" "), width, "    ");
        const whole = lines.map((line) => line.trim()).join("");
        return lines.every((line) => line.length <= width) && whole.replaceAll(" ", "") === words.join("");
      },
    ),
  );
});

t.test("tables keep their width as long as something can give", async () => {
  const cell = fc.stringMatching(/^[a-z0-9.-]{0,60}$/);
  const plain = (text: string): string => text;
  fc.assert(
    fc.property(fc.array(fc.tuple(cell, cell, fc.stringMatching(/^[0-9]{0,9}$/))), (rows) => {
      const columns = [
        { title: "NAME", flexible: true },
        { title: "PATH", flexible: true, keepEnd: true },
        { title: "COUNT", right: true },
      ];
      return table(columns, rows, 80, plain).every((line) => line.length <= 80);
    }),
  );
});

t.test("small things", async (t) => {
  t.equal(cut("abcdef", 4), "abc…");
  t.equal(cut("abcdef", 4, true), "…def");
  t.equal(cut("abc", 4), "abc");
  t.equal(number(1234567), "1,234,567");
  t.equal(bytes(512), "512 B");
  t.equal(bytes(98_304), "96.0 KiB");
  t.equal(bytes(536_870_912), "512 MiB");
  t.equal(plural(1, "rule"), "1 rule");
  t.equal(plural(2, "rule"), "2 rules");
  t.equal(shortDigest(`sha256:${"ab".repeat(32)}@shop`), "sha256:abababababab@shop");
  t.equal(shortId("c0ffee".repeat(10)), "c0ffeec0ffee");
  t.equal(formatDuration(45), "45 s");
  t.equal(formatDuration(3_900), "1 h 5 min");
  t.equal(formatDuration(93_784), "1 d 2 h");
  t.equal(formatDuration(86_400), "1 d");
});

t.test("times as an operator writes them", async (t) => {
  t.equal(parseMoment("1h", 10_000_000, "--since"), 6_400_000);
  t.equal(parseMoment("1.5h", 10_000_000, "--since"), 4_600_000);
  t.equal(parseMoment("99999999w", 10_000_000, "--since"), 0, "not before there was time");
  t.equal(parseMoment("2026-11-24", 0, "--since"), Date.UTC(2026, 10, 24));
  t.equal(parseMoment("2026-11-24T02:00:00.5+01:00", 0, "--since"), Date.UTC(2026, 10, 24, 1, 0, 0, 500));
  t.throws(() => parseMoment("soon", 0, "--since"), {
    code: "TM_USAGE",
    message: /^--since `soon` is no time/,
  });
});

t.test("targets", async (t) => {
  t.same(parseTarget("Bücher.Example."), { kind: "name", name: "xn--bcher-kva.example" });
  t.same(parseTarget("203.0.113.1"), {
    kind: "connection",
    address: "203.0.113.1",
    port: 443,
    protocol: "tcp",
    assumed: true,
  });
  t.match(parseTarget("203.0.113.1:53/UDP"), { port: 53, protocol: "udp", assumed: false });
  t.match(parseTarget("2001:DB8:0::1"), { address: "2001:db8::1", assumed: true });
  t.match(parseTarget("::ffff:203.0.113.1"), { address: "203.0.113.1", assumed: true });
  t.match(parseTarget("[::ffff:cb00:7101]:53/udp"), { address: "203.0.113.1", port: 53 });
  t.match(parseTarget("[2001:db8::1]"), { address: "2001:db8::1", assumed: true });
  t.match(parseTarget("[2001:db8::1]:443"), {
    address: "2001:db8::1",
    port: 443,
    protocol: "tcp",
    assumed: false,
  });
  const wrong = [
    "",
    ".",
    "a b",
    "evil.example:443",
    "[203.0.113.1]:1",
    "203.0.113.1:70000",
    "203.0.113.1:1/gre",
    "http://x/",
    "a..b",
    "256.0.113.1",
    "[2001:db8::1]:x",
  ];
  for (const text of wrong) t.throws(() => parseTarget(text), { code: "TM_USAGE" }, text);
});

t.test("colours on a terminal only, and not with NO_COLOR", async (t) => {
  const written = (
    stream: { isTTY?: boolean; columns?: number },
    environment: Record<string, string>,
  ): string => {
    let text = "";
    const output = new Output({ ...stream, write: (more: string) => (text += more) }, environment);
    output.text("hello", "", "red");
    return text;
  };
  t.equal(written({ isTTY: true, columns: 100 }, {}), "\u001b[31mhello\u001b[0m\n");
  t.equal(written({ isTTY: true }, { NO_COLOR: "1" }), "hello\n");
  t.equal(written({ isTTY: true }, { NO_COLOR: "" }), "\u001b[31mhello\u001b[0m\n");
  t.equal(written({ isTTY: true }, { TERM: "dumb" }), "hello\n");
  t.equal(written({}, {}), "hello\n");
  t.equal(new Output({ isTTY: true, columns: 20, write: () => true }, {}).width, 40);
  t.equal(new Output({ columns: 200, write: () => true }, {}).width, 80, "80 where there is no terminal");
});
