/** The examples of docs/feeds.md are what the formats do. */
import { readFileSync } from "node:fs";
import t from "tap";
import { formatAddress } from "../../src/address.ts";
import { parseFeeds } from "../../src/feed/manifest.ts";
import { ADDRESS_ROW, parseList } from "../../src/feed/parse.ts";
import { LIST_FORMATS } from "../../src/feed/types.ts";

const page = readFileSync(new URL("../../docs/feeds.md", import.meta.url), "utf8");
const NOW = Date.UTC(2026, 0, 1);

/** Forms that editors and servers give to the same list. */
const FORMS: Readonly<Record<string, (list: string) => string>> = {
  "as it stands": (list) => list,
  "with the line ends of Windows": (list) => list.replaceAll("\n", "\r\n"),
  "behind a byte order mark": (list) => `\ufeff${list}`,
  "without a line feed at its end": (list) => list.trimEnd(),
};

function textOf(entries: Uint8Array, kind: "domain" | "address"): string[] {
  if (kind === "domain") return Buffer.from(entries).toString("latin1").trimEnd().split("\n");
  const texts: string[] = [];
  for (let at = 0; at < entries.length; at += ADDRESS_ROW) {
    const address = formatAddress(entries, at + 2, entries[at] === 4 ? 4 : 16);
    texts.push(`${address}/${entries[at + 1]}`);
  }
  return texts;
}

t.test("every example gives the entries that stand below it", async (t) => {
  const shown = new Set<string>();
  const examples = page.matchAll(
    /^```text format=(\w+) kind=(domain|address)\n(.*?)^```\n```text entries\n(.*?)^```$/gms,
  );
  for (const [, format = "", kind, list = "", wanted = ""] of examples) {
    const wants = kind === "address" ? "address" : "domain";
    for (const [form, written] of Object.entries(FORMS)) {
      const parsed = parseList(Buffer.from(written(list)), { kind: wants, now: NOW });
      t.equal(parsed.format, format, `${format} is detected ${form}`);
      t.strictSame(
        textOf(parsed.entries, wants),
        wanted.trimEnd().split("\n"),
        `${format}, ${wants} ${form}`,
      );
    }
    shown.add(format);
  }
  // The exports of abuse.ch share their section and one example.
  const alike = ["urlhaus", "feodo"];
  t.strictSame(
    LIST_FORMATS.filter((format) => !shown.has(format) && !alike.includes(format)),
    [],
  );
  t.equal([...page.matchAll(/^```text format=/gm)].length, [...page.matchAll(/^```text entries$/gm)].length);
});

t.test("the manifests are good ones, and every format and key is named", async (t) => {
  const manifests = [...page.matchAll(/^```yaml\n(.*?)^```$/gms)];
  t.ok(manifests.length > 0);
  for (const [, text = ""] of manifests) t.ok(parseFeeds(text, "feeds.yaml").length > 0);
  for (const format of LIST_FORMATS) t.ok(page.includes(`\`${format}\``), format);
  const comments = readFileSync(new URL("../../feeds/feeds.yaml", import.meta.url), "utf8");
  for (const format of LIST_FORMATS) t.match(comments, format);
});
