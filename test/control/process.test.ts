import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import t, { type Test } from "tap";
import type { AuditRecord } from "../../src/audit/record.ts";
import {
  audit,
  finish,
  fold,
  incidentSummary,
  type Ran,
  Script,
  serve,
  start,
  tidesman,
  within,
} from "./scripted.ts";

/** A control server and a way to ask it with the real command. Socket paths are short, so the folder is too. */
async function world(
  t: Test,
): Promise<{ script: Script; run: (...args: string[]) => Promise<Ran>; runtime: string }> {
  const runtime = mkdtempSync(join(tmpdir(), "tm-cli-"));
  const script = new Script();
  const { server } = await serve(runtime, script);
  t.teardown(async () => {
    await server.close();
    rmSync(runtime, { recursive: true, force: true });
  });
  return { script, runtime, run: (...args) => within(["--runtime-dir", runtime, ...args]) };
}

t.test("the real command: exit statuses and streams of a process of its own", async (t) => {
  const { script, runtime } = await world(t);
  const real = (...args: string[]): Promise<Ran> => tidesman(["--runtime-dir", runtime, ...args]);
  script.stored = [audit(1)];
  t.match(await real("status"), { status: 0, stdout: /^packets/m, stderr: "" });
  t.match(await real("audits", "--json"), { status: 0, stdout: /^\{"id":/, stderr: "" });
  t.match(await real("why", "web", "evil.example"), { status: 1, stdout: /would be dropped/, stderr: "" });
  t.match(await real("statsu"), { status: 2, stdout: "", stderr: /\(TM_USAGE\)/ });
  t.match(await tidesman(["--runtime-dir", join(runtime, "none"), "status"]), { status: 3, stdout: "" });
  t.match(await tidesman(["--help"]), { status: 0, stdout: /^Usage: tidesman/, stderr: "" });
});

t.test("a reader that has seen enough is no error", async (t) => {
  const { script, runtime } = await world(t);
  script.stored = Array.from({ length: 12_000 }, (_, index) => audit(index));
  const child = start(["--runtime-dir", runtime, "audits", "--since", "3650d"]);
  let complaints = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    complaints += text;
  });
  child.stdout?.once("data", () => child.stdout?.destroy());
  const code = await new Promise((resolve) => child.on("close", resolve));
  t.equal(code, 0);
  t.equal(complaints, "");
});

t.test(
  "--follow: what is stored, then what comes, once each; ends with 3 when the daemon goes",
  async (t) => {
    const runtime = mkdtempSync(join(tmpdir(), "tm-follow-"));
    t.teardown(() => rmSync(runtime, { recursive: true, force: true }));
    const script = new Script();
    const { server } = await serve(runtime, script);
    script.stored = Array.from({ length: 30 }, (_, index) => audit(index));
    const child = start(["--runtime-dir", runtime, "audits", "--follow", "--json", "--container", "web"]);
    let text = "";
    let complaints = "";
    child.stdout?.setEncoding("utf8").on("data", (more: string) => {
      text += more;
    });
    child.stderr?.setEncoding("utf8").on("data", (more: string) => {
      complaints += more;
    });
    const records = (): AuditRecord[] =>
      text.split("\n").flatMap((line) => (line === "" ? [] : [JSON.parse(line) as AuditRecord]));
    const until = async (count: number): Promise<void> => {
      const signal = AbortSignal.timeout(60_000);
      while (records().length < count) await once(child.stdout!, "data", { signal });
    };
    await until(10);
    script.emit(audit(29));
    script.emit(audit(40, { container: null }));
    script.emit(audit(30));
    script.emit(audit(30, { count: 2 }), false);
    script.emit({ ...fold(41), container: { ...audit(1).container!, id: "c1", name: "web-1" } });
    await until(13);
    await server.close();
    const code = await new Promise((resolve) => child.on("close", resolve));
    t.equal(code, 3);
    t.match(complaints, /ended the stream.*\(TM_UNREACHABLE\)/);
    t.same(
      records().map((record) => [record.id, record.count]),
      [
        ...script.stored.slice(-10).map((record) => [record.id, 1]),
        [audit(30).id, 1],
        [audit(30).id, 2],
        [fold(41).id, 9],
      ],
    );
  },
);

t.test("incidents --follow: what is open, then what opens, changes and closes; no audits", async (t) => {
  const runtime = mkdtempSync(join(tmpdir(), "tm-follow-"));
  t.teardown(() => rmSync(runtime, { recursive: true, force: true }));
  const script = new Script();
  const { server } = await serve(runtime, script);
  const child = start(["--runtime-dir", runtime, "incidents", "list", "--follow"]);
  let text = "";
  child.stdout?.setEncoding("utf8").on("data", (more: string) => {
    text += more;
  });
  const until = async (wanted: string): Promise<void> => {
    const signal = AbortSignal.timeout(60_000);
    while (!text.includes(wanted)) await once(child.stdout!, "data", { signal });
  };
  await until("scanned 26 ports");
  script.emitIncident(incidentSummary, false);
  script.emit(audit(1));
  script.emitIncident({ ...incidentSummary, id: "01KB2", kind: "dataExfiltration", count: 1_000 });
  script.emitIncident({ ...incidentSummary, state: "closed", note: "a test of ours" }, false);
  await until("a test of ours");
  await server.close();
  t.equal(await new Promise((resolve) => child.on("close", resolve)), 3);
  const lines = text.trimEnd().split("\n");
  t.match(lines, [
    / open portScan web x2 01KB0+1$/,
    "    scanned 26 ports of 203.0.113.10",
    / open dataExfiltration web x1,000 01KB2$/,
    "    scanned 26 ports",
    / closed portScan web x2 01KB0+1$/,
    "    scanned 26 ports of 203.0.113.10 (a test of ours)",
  ]);
  t.equal(lines.length, 6, "what was told is not told again");
});

const SCRIPT = "/usr/bin/script";
const noTerminal = !existsSync(SCRIPT) && "there is no `script` command to make a terminal with";

t.test("on a terminal: colours, unless NO_COLOR is set", { skip: noTerminal }, async (t) => {
  const { runtime } = await world(t);
  const main = fileURLToPath(new URL("../../src/main.ts", import.meta.url));
  const command = `${process.execPath} ${main} --runtime-dir ${runtime} why web evil.example`;
  const { NO_COLOR: _unset, ...rest } = process.env;
  const shown = async (environment: Record<string, string>): Promise<string> => {
    const env = { ...rest, TERM: "xterm", ...environment };
    return (
      await finish(spawn(SCRIPT, ["-qec", command, "/dev/null"], { env, stdio: ["ignore", "pipe", "pipe"] }))
    ).stdout;
  };
  t.match(await shown({}), "\u001b[31m");
  const plain = await shown({ NO_COLOR: "1" });
  t.match(plain, /would be dropped/);
  t.notMatch(plain, "\u001b[");
});
