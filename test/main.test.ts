import { execFile } from "node:child_process";
import { copyFileSync, mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import t from "tap";
import { createLogger, partLog } from "../src/log.ts";

const execute = promisify(execFile);
const COMMAND = fileURLToPath(new URL("../scripts/tidesman", import.meta.url));

t.test("the command from a checkout runs on the pinned runtime, wherever it is called from", async (t) => {
  const folder = t.testdir();
  symlinkSync(COMMAND, join(folder, "tidesman"));
  const options = { cwd: "/", env: { PATH: "/usr/bin:/bin" } };
  const { stdout } = await execute(join(folder, "tidesman"), ["version", "--json"], options);
  t.match(JSON.parse(stdout), { version: /^\d+\.\d+\.\d+/, node: process.version });
});

t.test("a checkout that is not set up says so", async (t) => {
  const folder = t.testdir();
  mkdirSync(join(folder, "scripts"));
  const copy = join(folder, "scripts", "tidesman");
  copyFileSync(COMMAND, copy);
  await t.rejects(execute(copy, ["status"]), {
    code: 2,
    stdout: "",
    stderr: /not set up yet: .*run `.*scripts\/setup` first/,
  });
});

t.test("an answer that cannot be written is no answer", async (t) => {
  const ran = execute("sh", ["-c", 'exec "$0" version > /dev/full', COMMAND]);
  await t.rejects(ran, { code: 2, stderr: /^tidesman: the output cannot be written: ENOSPC.*\n$/ });
});

t.test(
  "lines of the log that nobody takes end nothing, and are told when they are taken again",
  async (t) => {
    const lines: string[] = [];
    let full = false;
    const log = createLogger({
      level: "info",
      readable: false,
      colour: false,
      write(line) {
        if (full) throw Object.assign(new Error("no space"), { code: "ENOSPC" });
        lines.push(JSON.parse(line).msg);
      },
    });
    log.info("one");
    full = true;
    for (const text of ["two", "three"]) partLog(log, "dns").info(text);
    full = false;
    for (const text of ["four", "five"]) log.info(text);
    const lost = "lines of this log that could not be written, and are lost: 2 (ENOSPC)";
    t.strictSame(lines, ["one", "four", lost, "five"]);
  },
);

t.test("a status loads neither the daemon nor what only the daemon needs", async (t) => {
  const main = fileURLToPath(new URL("../src/main.ts", import.meta.url));
  const program = `
    import { registerHooks } from "node:module";
    const loaded = [];
    registerHooks({ load(url, context, next) { loaded.push(url); return next(url, context); } });
    process.argv = [process.execPath, ${JSON.stringify(main)}, "--runtime-dir", "/nowhere", "status"];
    process.on("exit", () => console.log(JSON.stringify(loaded)));
    await import(${JSON.stringify(main)});`;
  const ran = await execute(process.execPath, ["--input-type=module", "-e", program]).catch(
    (error: { code: number; stdout: string }) => error,
  );
  t.match(ran, { code: 3 });
  const loaded = (JSON.parse(ran.stdout) as string[]).map((url) =>
    url.replace(/^.*\/main\/(?=src|node_modules)/, ""),
  );
  t.ok(loaded.some((url) => url.endsWith("src/control/cli/status.ts")));
  const heavy =
    /src\/(daemon|config|policy|feed|dns|packet|model|audit|control\/(api|server|schema))|\/(undici|fastify|pino|zod|yaml|prom-client)\//;
  t.same(
    loaded.filter((url) => heavy.test(url)),
    [],
  );
});

t.test("the log: JSON for the journal", async (t) => {
  const lines: string[] = [];
  const log = createLogger({
    level: "info",
    readable: false,
    colour: false,
    write: (line) => lines.push(line),
  });
  partLog(log, "dns").warn({ upstream: "192.0.2.1" }, "upstream is slow");
  log.debug("not at this level");
  log.error({ error: new Error("broken") }, "failed");
  t.equal(lines.length, 2);
  const [first, second] = lines.map((line) => JSON.parse(line));
  t.match(first, {
    level: "warn",
    part: "dns",
    upstream: "192.0.2.1",
    msg: "upstream is slow",
    time: /^\d{4}-.*Z$/,
  });
  t.notOk("pid" in first);
  t.match(second, { level: "error", error: { message: "broken", stack: /Error: broken/ } });
});

t.test("the log: a line for people, which nobody else can write to the terminal with", async (t) => {
  const lines: string[] = [];
  const write = (line: string): void => void lines.push(line);
  const log = createLogger({ level: "info", readable: true, colour: false, write });
  partLog(log, "dns").warn({ upstream: "192.0.2.1", tries: 3 }, "upstream is slow");
  log.error({ error: new Error("broken") }, "failed\nfor \u001b[31mgood");
  t.match(
    lines[0],
    /^\d\d:\d\d:\d\d\.\d{3} warn {2}dns: upstream is slow {2}upstream=192\.0\.2\.1 tries=3\n$/,
  );
  t.match(lines[1], /error failed\n {4}for \\x1b\[31mgood {2}error=broken\n$/);
  createLogger({ level: "debug", readable: true, colour: true, write }).error(
    { error: new Error("broken") },
    "failed",
  );
  t.match(lines[2], "\u001b[31merror\u001b[0m failed  error=broken\nError: broken\n    at ");
});
