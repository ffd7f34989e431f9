import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t, { type Test } from "tap";
import { ControlClient } from "../../src/control/client.ts";
import { Script, serve, status, tidesman } from "./scripted.ts";

/** Socket paths are short (108 bytes), so the folder is too. */
function folder(t: Test): string {
  const path = mkdtempSync(join(tmpdir(), "tm-control-"));
  t.teardown(() => rmSync(path, { recursive: true, force: true }));
  return path;
}
t.test("answers on a socket of mode 0600 without the group, and is gone after close", async (t) => {
  const runtime = join(folder(t), "run");
  const { server } = await serve(runtime, new Script());
  t.equal(lstatSync(server.path).mode & 0o777, 0o600);
  t.same(await new ControlClient(runtime).status(), status);
  await server.close();
  t.notOk(existsSync(server.path));
  await t.rejects(new ControlClient(runtime).status(), {
    code: "TM_UNREACHABLE",
    message: /systemctl start tidesman/,
  });
});

t.test(
  "mode 0660 for the configured group",
  { skip: process.getuid?.() !== 0 && "needs root" },
  async (t) => {
    const runtime = folder(t);
    const { server } = await serve(runtime, new Script(), "daemon");
    t.teardown(() => server.close());
    const { mode, gid } = statSync(server.path);
    t.equal(mode & 0o777, 0o660);
    t.equal(gid, 1);
  },
);

t.test("a group that does not exist is none", async (t) => {
  const { server } = await serve(folder(t), new Script(), "no-such-group-here");
  t.teardown(() => server.close());
  t.equal(statSync(server.path).mode & 0o777, 0o600);
});

t.test("a live socket is TM_ALREADY_RUNNING and is left alone", async (t) => {
  const runtime = folder(t);
  const { server } = await serve(runtime, new Script());
  t.teardown(() => server.close());
  await t.rejects(serve(runtime, new Script()), { code: "TM_ALREADY_RUNNING", message: /already listens/ });
  t.same(await new ControlClient(runtime).status(), status);
});

t.test("a stale socket, left by a daemon that was killed, is replaced", async (t) => {
  const runtime = folder(t);
  const path = join(runtime, "control.sock");
  const program = `require("node:net").createServer().listen(${JSON.stringify(path)}, () => console.log("up"))`;
  const child = spawn(process.execPath, ["-e", program], { stdio: ["ignore", "pipe", "inherit"] });
  await once(child.stdout, "data");
  child.kill("SIGKILL");
  await once(child, "exit");
  t.ok(lstatSync(path).isSocket());
  const { server } = await serve(runtime, new Script());
  t.teardown(() => server.close());
  t.same(await new ControlClient(runtime).status(), status);
});

t.test("closing does not remove the socket of whoever came after", async (t) => {
  const runtime = folder(t);
  const { server } = await serve(runtime, new Script());
  rmSync(server.path);
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(server.path, resolve));
  t.teardown(() => other.close());
  await server.close();
  t.ok(existsSync(server.path));
});

t.test("a place that cannot be used says so", async (t) => {
  const base = folder(t);
  writeFileSync(join(base, "file"), "");
  await t.rejects(serve(join(base, "file", "run"), new Script()), {
    code: "TM_USAGE",
    message: /--runtime-dir/,
  });
  writeFileSync(join(base, "control.sock"), "mine");
  await t.rejects(serve(base, new Script()), { code: "TM_USAGE", message: /is no socket/ });
  await t.rejects(serve(join(base, "x".repeat(100)), new Script()), {
    code: "TM_USAGE",
    message: /too long/,
  });
});

t.test(
  "someone without rights gets TM_NOT_PERMITTED",
  { skip: process.getuid?.() !== 0 && "needs root" },
  async (t) => {
    const runtime = folder(t);
    chmodSync(runtime, 0o755);
    const { server } = await serve(runtime, new Script());
    t.teardown(() => server.close());
    const wrapper = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    const denied = await tidesman(["--runtime-dir", runtime, "status"], { wrapper });
    t.equal(denied.status, 4);
    t.equal(denied.stdout, "");
    t.match(
      denied.stderr,
      /^tidesman: no permission to use the control socket .*run it with sudo \(TM_NOT_PERMITTED\)\n$/,
    );

    const shared = folder(t);
    chmodSync(shared, 0o755);
    const grouped = await serve(shared, new Script(), "daemon");
    t.teardown(() => grouped.server.close());
    const outside = await tidesman(["--runtime-dir", shared, "status"], { wrapper });
    t.equal(outside.status, 4);
    t.match(outside.stderr, /join the group `daemon`/);
    const member = await tidesman(["--runtime-dir", shared, "status"], {
      wrapper: ["setpriv", "--reuid=65534", "--regid=65534", "--groups=1"],
    });
    t.equal(member.status, 0);
  },
);

t.test(
  "a daemon that may not write its runtime folder",
  { skip: process.getuid?.() !== 0 && "needs root" },
  async (t) => {
    const base = folder(t);
    chmodSync(base, 0o755);
    const closed = join(base, "closed");
    mkdirSync(closed, { mode: 0o755 });
    const program = `
    import { serve, Script } from ${JSON.stringify(new URL("./scripted.ts", import.meta.url).href)};
    await serve(process.argv[1], new Script()).catch((error) => console.log(error.code));`;
    const child = spawn(
      "setpriv",
      [
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        process.execPath,
        "--input-type=module",
        "-e",
        program,
        closed,
      ],
      { stdio: ["ignore", "pipe", "inherit"] },
    );
    const [text] = await once(child.stdout.setEncoding("utf8"), "data");
    t.equal(text, "TM_NOT_PERMITTED\n");
  },
);
