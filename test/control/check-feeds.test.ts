import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { ManualClock } from "../../src/clock.ts";
import { loadConfig } from "../../src/config.ts";
import type { FileReaders } from "../../src/control/cli/context.ts";
import { checkConfig, checkFeeds } from "../../src/control/cli/examine.ts";
import { checkManifest } from "../../src/feed/files.ts";
import { DEFAULT_POLICY } from "../../src/policy/parse.ts";
import { importPrisma } from "../../src/policy/prisma/import.ts";

const never = (): never => {
  throw new Error("feeds are checked here, and nothing else");
};

const readers: FileReaders = {
  config: loadConfig,
  policy: never,
  feeds: (text, file, how) => checkManifest(text, file, { ...how, clock: new ManualClock() }),
  prisma: importPrisma,
  defaultPolicy: DEFAULT_POLICY,
  shippedFeeds: "/nowhere/feeds.yaml",
};
const SECRET = "s3cr3t-of-lists";

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
  const how = { required: false, bodies: join(folder, "bodies") };
  const told = (file: string, environment: Record<string, string>): readonly string[] => {
    const shipped = { ...readers, shippedFeeds: join(folder, "feeds.yaml") };
    const { notices, problems } = checkFeeds(shipped, join(folder, file), { ...how, environment });
    t.strictSame(problems, []);
    return notices.map(({ level, line, field, message }) => `${level} ${line} ${field} ${message}`);
  };
  const bare = told("feeds.yaml", {});
  t.equal(bare.length, 6);
  t.match(bare, [
    /^info 3 feeds\[0\]\.url feed `new`: not fetched yet/,
    /^warning 5 feeds\[2\]\.authentication\.file .*none` \(ENOENT\)/,
    /^warning 6 feeds\[3\]\.url .*without encryption/,
    /^warning 6 feeds\[3\]\.ca .*none\.pem` cannot be read \(ENOENT\)/,
    /^warning 6 feeds\[3\]\.authentication\.environment .*`B` is not set here; .*feeds\.env/,
    /^warning 8 feeds\[5\]\.path .*none\.txt` does not exist/,
  ]);
  t.equal(told("feeds.yaml", { B: "x" }).length, 5);
  t.strictSame(told("absent.yaml", {}), bare, "the manifest that ships, while there is none");
});

t.test("every file is read as an update will read it, all at once, and no secret is repeated", async (t) => {
  const folder = t.testdir({
    "feeds.yaml": `version: 1
popular:
  - names.txt
  - none.txt
  - empty.txt
  - dirt.txt
  - columns.csv
  - sub
  - pipe
feeds:
  - { name: page, path: page.html, kind: domain }
  - { name: dirty, path: dirty.txt, kind: domain }
  - { name: empty, path: empty.txt, kind: domain, allowEmpty: false }
  - { name: folder, path: sub, kind: domain }
  - { name: fine, path: names.txt, kind: domain }
  - { name: bare, url: "https://a.example/1", kind: domain, authentication: { header: A, file: blank } }
  - { name: odd, url: "https://a.example/2", kind: domain, authentication: { header: A, file: odd } }
  - { name: place, url: "https://a.example/3", kind: domain, authentication: { query: a, file: sub } }
  - { name: void, url: "https://a.example/4", kind: domain, authentication: { header: A, environment: ODD } }
  - { name: authority, url: "https://a.example/5", kind: domain, ca: names.txt }
  - { name: piped, url: "https://a.example/6", kind: domain, authentication: { query: a, file: pipe } }
`,
    "names.txt": "good.example\n",
    "empty.txt": "# nothing\n",
    "dirt.txt": "good.example\nco.uk\nhttp://x.example/\n",
    "columns.csv": '"rank","name"\n"1","good.example"\n',
    "page.html": "<!doctype html><title>Not found</title>",
    "dirty.txt": "evil.example\nnot a name\n",
    sub: { file: "x" },
    blank: "\n",
    odd: `${SECRET}\nagain\n`,
  });
  execFileSync("mkfifo", [join(folder, "pipe")]);
  const bodies = join(folder, "sub");
  const environment = { ODD: `${SECRET}\u0007` };
  const { notices } = checkFeeds(readers, join(folder, "feeds.yaml"), {
    required: true,
    bodies,
    environment,
  });
  const told = notices
    .filter(({ message }) => !message.includes("not fetched yet"))
    .map(({ level, line, field, message }) => `${level} ${line} ${field} ${message}`);
  t.match(told, [
    /^warning 4 popular\[1\] `.*none\.txt` cannot be read \(ENOENT\); none of its names/,
    /^warning 5 popular\[2\] `.*empty\.txt` has no name in it/,
    /^info 6 popular\[3\] `.*dirt\.txt`: 2 lines are no name that a list could have: line 2: co\.uk: /,
    /^warning 7 popular\[4\] `.*columns\.csv` holds no popular name \(line 1: /,
    /^warning 8 popular\[5\] `.*sub` cannot be read \(EISDIR\)/,
    /^warning 9 popular\[6\] `.*pipe` cannot be read \(it is not a regular file\)/,
    /^warning 11 feeds\[0\]\.path feed `page`: `.*page\.html` cannot be used: the body is a web page/,
    /^info 12 feeds\[1\]\.path feed `dirty`: 1 line is no entry: line 2: not a name/,
    /^warning 13 feeds\[2\]\.path feed `empty`: .* has no entries, and `allowEmpty`/,
    /^warning 14 feeds\[3\]\.path feed `folder`: .*a folder without `manifest\.json`/,
    /^warning 16 feeds\[5\]\.authentication\.file feed `bare`: its secret is missing: the file `.*blank` is empty/,
    /^warning 17 feeds\[6\]\.authentication\.file .*odd` has characters that a header cannot carry/,
    /^warning 18 feeds\[7\]\.authentication\.file .*sub` \(EISDIR\)/,
    /^warning 19 feeds\[8\]\.authentication\.environment .*characters that a header cannot carry/,
    /^warning 20 feeds\[9\]\.ca feed `authority`: .*names\.txt` has no certificate in PEM form/,
    /^warning 21 feeds\[10\]\.authentication\.file .*pipe` \(unreadable\)/,
  ]);
  t.equal(told.length, 16);
  t.notMatch(told.join("\n"), SECRET);
});

t.test("files that the configuration names", async (t) => {
  // Not in the checkout: wherever that is, the path of a socket may have 107 bytes only.
  const folder = mkdtempSync(join(tmpdir(), "tm-check-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, "resolv.conf"), "nameserver 192.0.2.1\n");
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(join(folder, "engine.sock"), resolve));
  t.teardown(() => server.close());
  const told = (text: string): readonly string[] => {
    const file = join(folder, "tidesman.yaml");
    writeFileSync(file, text);
    const { notices, problems } = checkConfig(readers, file, true, "host");
    t.strictSame(problems, []);
    return notices.map(({ level, line, field, message }) => `${level} ${line} ${field} ${message}`);
  };
  const socket = join(folder, "engine.sock");
  const resolvConf = join(folder, "resolv.conf");
  t.strictSame(told(`dns: { resolvConf: ${resolvConf} }\ndocker: { socket: ${socket} }\n`), []);
  t.match(told(`dns: { resolvConf: ${folder}/none }\ndocker: { socket: ${folder}/none }\n`), [
    /^warning 1 dns\.resolvConf `.*none` cannot be read \(ENOENT\)/,
    /^info 2 docker\.socket `.*none` cannot be used \(ENOENT\)/,
  ]);
  t.match(
    told(`dns: { resolvConf: ${folder}/none, upstreams: [192.0.2.1] }\ndocker: { socket: ${resolvConf} }\n`),
    [/^warning 2 docker\.socket .*\(it is not a socket\)/],
  );
});
