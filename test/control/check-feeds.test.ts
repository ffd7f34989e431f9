import { join } from "node:path";
import t from "tap";
import { checkFeeds } from "../../src/control/cli/examine.ts";
import { parseFeeds } from "../../src/feed/manifest.ts";
import { DEFAULT_POLICY } from "../../src/policy/parse.ts";
import { importPrisma } from "../../src/policy/prisma/import.ts";

const never = (): never => {
  throw new Error("feeds are checked here, and nothing else");
};

t.test("check tells what keeps lists from being fetched", async (t) => {
  const folder = t.testdir({
    "feeds.yaml": `version: 1
feeds:
  - { name: new, url: "https://lists.example/a", kind: domain }
  - { name: kept, url: "https://lists.example/b", kind: domain, authentication: { query: k, file: secret } }
  - { name: file, url: "https://lists.example/c", kind: domain, authentication: { user: me, file: none } }
  - { name: variable, url: "http://lists.example/d", kind: url, ca: none.pem, authentication: { header: A, environment: B } }
  - { name: off, url: "https://lists.example/e", kind: domain, enabled: false, ca: none.pem }
  - { name: local, path: none.txt, kind: address }
`,
    secret: "x",
    bodies: { kept: "", file: "", variable: "" },
  });
  const readers = {
    config: never,
    policy: never,
    feeds: parseFeeds,
    prisma: importPrisma,
    defaultPolicy: DEFAULT_POLICY,
    shippedFeeds: join(folder, "feeds.yaml"),
  };
  const how = { required: false, bodies: join(folder, "bodies") };
  const told = (file: string, environment: Record<string, string>): readonly string[] => {
    const { notices, problems } = checkFeeds(readers, join(folder, file), { ...how, environment });
    t.strictSame(problems, []);
    return notices.map(({ level, field, message }) => `${level} ${field} ${message}`);
  };
  const bare = told("feeds.yaml", {});
  t.equal(bare.length, 6);
  t.match(bare, [
    /^info feeds\[0\]\.url feed `new`: not fetched yet/,
    /^warning feeds\[2\]\.authentication\.file .*none` cannot be read \(ENOENT\)/,
    /^warning feeds\[3\]\.authentication\.environment .*`B` is not set/,
    /^warning feeds\[3\]\.url .*without encryption/,
    /^warning feeds\[3\]\.ca .*none\.pem` cannot be read/,
    /^warning feeds\[5\]\.path .*none\.txt` cannot be read/,
  ]);
  t.equal(told("feeds.yaml", { B: "x" }).length, 5);
  t.strictSame(told("absent.yaml", {}), bare, "the manifest that ships, while there is none");
});
