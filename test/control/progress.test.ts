import t from "tap";
import { Progress } from "../../src/control/cli/progress.ts";

/** A terminal of so many columns, and what is written to it. */
function terminal(columns: number | undefined, isTTY = true) {
  const written: string[] = [];
  const stream = {
    isTTY,
    ...(columns === undefined ? {} : { columns }),
    write: (text: string) => written.push(text.replaceAll("\r\u001b[K", "")),
  };
  return { stream, written };
}

t.test("a line on a terminal, and nothing elsewhere", async (t) => {
  const { stream, written } = terminal(40);
  let now = 0;
  const progress = new Progress(stream, () => now);
  progress.step("fetching");
  progress.transfer("urlhaus", 1_000_000, 4_000_000);
  now = 50;
  progress.transfer("urlhaus", 2_000_000, 4_000_000);
  now = 200;
  progress.transfer("urlhaus", 2_500_000, null);
  progress.transfer("urlhaus", 4_000_000, 4_000_000);
  progress.end();
  progress.end();
  t.strictSame(written, [
    "fetching ...",
    "urlhaus  [#####               ] 1.0 MB ",
    "urlhaus  2.5 MB",
    "urlhaus  [####################] 4.0 MB ",
    "",
  ]);
  t.ok(written.every((line) => line.length < 40));

  const file = terminal(80, false);
  new Progress(file.stream, () => 0).step("fetching");
  t.strictSame(file.written, []);
});

t.test("a terminal that does not know its size has 80 columns", async (t) => {
  for (const columns of [0, undefined]) {
    const { stream, written } = terminal(columns);
    new Progress(stream, () => 0).step("x".repeat(100));
    t.strictSame(written, ["x".repeat(79)]);
  }
});
