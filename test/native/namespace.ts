/** Network namespaces of a test's own, named by prefix and process id, gone when the test ends. */
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Test } from "tap";

/** Runs a command; its standard output. What it says on standard error comes with the error. */
export function run(command: string, ...parameters: readonly string[]): string {
  return execFileSync(command, parameters, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

/** One line of words. */
export function sh(line: string): string {
  const [command = "", ...parameters] = line.split(" ");
  return run(command, ...parameters);
}

/** Removes what a run that was killed left behind: namespaces of ours whose process is gone. */
function sweep(): void {
  for (const line of sh("ip netns list").split("\n")) {
    const [, name, pid] = /^(tm-native-(\d+)-\w+)/.exec(line) ?? [];
    if (name !== undefined && !existsSync(`/proc/${pid}`)) sh(`ip netns del ${name}`);
  }
}

/** Makes `tm-native-PID-LABEL`, with its loopback up; returns its name. Removed at the end of `t`. */
export function makeNamespace(t: Pick<Test, "teardown">, label: string): string {
  sweep();
  const name = `tm-native-${process.pid}-${label}`;
  sh(`ip netns add ${name}`);
  t.teardown(() => {
    sh(`ip netns del ${name}`);
  });
  sh(`ip -n ${name} link set lo up`);
  return name;
}

/** Why the kernel part of these tests cannot run here, or false when it can. */
export function unable(): string | false {
  if (process.getuid?.() !== 0) return "needs root";
  for (const tool of ["ip", "iptables", "ip6tables", "ipset", "conntrack", "nsenter", "setpriv"]) {
    const found = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].some((directory) =>
      existsSync(`${directory}/${tool}`),
    );
    if (!found) return `needs ${tool}`;
  }
  return false;
}

/** Runs `inside-PART.ts` as a process in a network namespace of its own, its subtests being ours. */
export async function testInside(t: Test, part: string): Promise<void> {
  const skip = unable();
  t.setTimeout(110_000);
  await t.test(part, { skip }, async (t) => {
    const name = makeNamespace(t, part);
    const script = fileURLToPath(new URL(`./inside-${part}.ts`, import.meta.url));
    const enter = [`--net=/run/netns/${name}`, process.execPath, ...process.execArgv, script];
    // Above the 30 seconds that a test has by itself, for machines that are busy.
    const env = { ...process.env, TAP: "1", TAP_TIMEOUT: "100" };
    await t.spawn("nsenter", enter, { env }, part);
  });
}
