/** A dockerd of a test's own, in a network namespace of its own; gone when the test ends. */
import { execFileSync, spawn } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Test } from "tap";
import { until } from "./world.ts";

const TOOLS = ["dockerd", "docker", "containerd", "ip", "nsenter", "busybox", "tar"];

/** Why there can be no dockerd here, or false when there can. */
export function unable(): string | false {
  if (process.getuid?.() !== 0) return "needs root";
  for (const tool of TOOLS) {
    const found = ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/bin"].some((directory) =>
      existsSync(join(directory, tool)),
    );
    if (!found) return `needs ${tool}`;
  }
  return false;
}

function run(command: string, ...parameters: readonly string[]): string {
  return execFileSync(command, parameters, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] }).trim();
}

export interface EngineWorld {
  readonly namespace: string;
  readonly socket: string;
  readonly namespaceDirectory: string;
  /** Scratch space that goes with the world. */
  readonly directory: string;
}

/** Starts dockerd with one image, `tidesman-test`: a shell and the tools of busybox. */
export async function startEngine(t: Pick<Test, "teardown">): Promise<EngineWorld> {
  const namespace = `tm-ctr-${process.pid}`;
  const directory = mkdtempSync(join(tmpdir(), "tm-ctr-"));
  const socket = join(directory, "docker.sock");
  const pidFile = join(directory, "docker.pid");
  run("ip", "netns", "add", namespace);
  t.teardown(() => run("ip", "netns", "del", namespace));
  run("ip", "-n", namespace, "link", "set", "lo", "up");
  const log = openSync(join(directory, "docker.log"), "w");
  // Not `ip netns exec`, which mounts /sys anew and hides the control groups.
  const options = [
    `--net=/run/netns/${namespace}`,
    "dockerd",
    ...["--data-root", join(directory, "data"), "--exec-root", join(directory, "exec")],
    ...["-H", `unix://${socket}`, "--pidfile", pidFile, "--bip", "172.31.250.1/24"],
    ...["--ipv6", "--fixed-cidr-v6", "2001:db8:250::/64", "--iptables=false"],
  ];
  const engine = spawn("nsenter", options, { stdio: ["ignore", log, log] });
  t.teardown(async () => {
    const ended = new Promise((resolve) => engine.once("exit", resolve));
    if (engine.exitCode === null && engine.kill("SIGTERM")) await ended;
    for (const mount of readFileSync("/proc/mounts", "utf8").split("\n").reverse()) {
      const at = mount.split(" ")[1] ?? "";
      if (at.startsWith(`${directory}/`)) run("umount", "-l", at);
    }
    rmSync(directory, { recursive: true, force: true });
  });
  const answers = (): boolean => {
    if (engine.exitCode !== null)
      throw new Error(readFileSync(join(directory, "docker.log"), "utf8").slice(-2_000));
    try {
      run("docker", "-H", `unix://${socket}`, "version");
      return true;
    } catch {
      return false;
    }
  };
  await until(answers, "dockerd answers", 30_000);
  const root = join(directory, "rootfs");
  mkdirSync(join(root, "bin"), { recursive: true });
  cpSync("/usr/bin/busybox", join(root, "bin/busybox"), { dereference: true });
  for (const tool of ["sh", "sleep", "ping", "true", "nc", "ip"])
    symlinkSync("busybox", join(root, "bin", tool));
  const archive = join(directory, "rootfs.tar");
  run("tar", "-C", root, "-cf", archive, ".");
  run("docker", "-H", `unix://${socket}`, "import", archive, "tidesman-test");
  return { namespace, socket, namespaceDirectory: join(directory, "exec", "netns"), directory };
}
