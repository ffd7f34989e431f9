import t from "tap";
import { parseDuration, parseSize } from "../src/quantity.ts";

t.test("durations", async (t) => {
  const cases: readonly [string, number | null][] = [
    ["500ms", 500],
    ["1.5s", 1500],
    ["15m", 900_000],
    ["1h30m", 5_400_000],
    ["30d", 2_592_000_000],
    ["2w", 1_209_600_000],
    ["0", 0],
    ["0ms", 0],
    ["5", null],
    ["5 s", null],
    ["-5s", null],
    ["1e3s", null],
    ["5sec", null],
    ["", null],
  ];
  for (const [text, milliseconds] of cases) t.equal(parseDuration(text), milliseconds, text);
});

t.test("sizes", async (t) => {
  const cases: readonly [string, number | null][] = [
    ["512B", 512],
    ["64MiB", 67_108_864],
    ["1.5GiB", 1_610_612_736],
    ["1 GB", 1_000_000_000],
    ["10kB", 10_000],
    ["64", null],
    ["64M", null],
    ["64mib", null],
    ["", null],
  ];
  for (const [text, size] of cases) t.equal(parseSize(text), size, text);
});
