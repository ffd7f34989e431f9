/** The command: what it shows, its exit status, and that the real one works with a daemon and without. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import type { Verdict } from "../../src/doctor/verdict.ts";
import { longest, Script, serve, tidesman } from "./scripted.ts";

t.test("with a daemon that answers, without one, and with files that are wrong", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "tm-doc-"));
  const file = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  const settings = "dns: { upstreams: ['127.0.0.1:9'] }\ndocker: { socket: /nowhere.sock }\n";
  const places = (config: string): string[] => [
    ...["--config", config, "--feeds", file("f.yaml", "version: 1\nfeeds: []\n")],
    ...["--policy", file("p.yaml", "version: 1\nrules: []\n"), "--state", join(folder, "state")],
    ...["--runtime-dir", folder],
  ];
  const good = file("c.yaml", settings);
  const { server } = await serve(folder, new Script());
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));

  const json = await tidesman([...places(good), "doctor", "--json"]);
  t.equal(json.stderr, "");
  const { ok, verdicts }: { ok: boolean; verdicts: readonly Verdict[] } = JSON.parse(json.stdout);
  const of = (name: string) => verdicts.filter(({ check }) => check === name);
  t.match(of("daemon")[0], { level: "ok", message: /process 4242, version 0\.1\.0/ });
  t.match(of("coverage")[0], { level: "ok", message: /1 of 1 running/ });
  t.match(of("models")[0], { level: "ok", message: /1 learning/ });
  t.match(of("raw sockets")[0], { level: "warning", message: /tracefs is not mounted/ });
  t.match(of("lookups")[0], { level: "problem", message: /no upstream answers: 127\.0\.0\.1 port 9/ });
  t.match(of("engine")[0], { level: "warning", message: /\/nowhere\.sock/ });
  t.notOk(ok);
  t.equal(json.status, 1);
  await server.close();

  const text = await tidesman([...places(file("bad.yaml", `${settings}falMode: open\n`)), "doctor"]);
  t.equal(text.status, 1);
  t.equal(text.stderr, "");
  t.match(text.stdout, /^daemon +problem: the daemon cannot be reached/m);
  t.match(text.stdout, /^files +problem: configuration: .*falMode/ms);
  t.match(text.stdout, /^ +do: `tidesman check` tells all mistakes$/m);
  t.match(text.stdout, /^coverage +not told: /m);
  t.match(text.stdout, /^\d+ problems, \d+ warnings?, \d+ ok, \d+ could not be told$/m);
  t.ok(longest(text.stdout) <= 80);
  t.notMatch(text.stdout, "\u001b");
});
