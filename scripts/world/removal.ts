/**
 * Taking a world away, whole, in whatever state it is: after a good run, a failed start, or the SIGKILL of its owner. One way
 * for all of them, and synchronous, so that it also works while a process exits. Processes are found by the world's own network
 * namespaces (nothing else ever enters those), never by name.
 */
import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { systemCode } from "../../src/errors.ts";
import { startTime } from "./process.ts";

/** One folder per world, named by its id. */
export const WORLDS = "/var/tmp/tidesman-lab";
const PREFIX = "tm-lab-";

export function hostNamespace(id: string): string {
  return `${PREFIX}${id}-host`;
}
export function internetNamespace(id: string): string {
  return `${PREFIX}${id}-net`;
}
/** Parent of its containers' control groups. */
export function controlGroup(id: string): string {
  return `/${PREFIX}${id}`;
}

/** Who a world belongs to: it is removed when that process is gone. Null: it stays until `scripts/lab down`. */
interface Owner {
  readonly pid: number;
  readonly startTime: string;
}

/** Makes the folder of a world with its owner in it, at once, so that no sweep ever sees a world without an owner. */
export function claim(id: string, persistent: boolean): string {
  const directory = join(WORLDS, id);
  const draft = join(WORLDS, `.${id}`);
  mkdirSync(draft, { recursive: true, mode: 0o755 });
  const owner: Owner | null = persistent
    ? null
    : { pid: process.pid, startTime: startTime(process.pid) ?? "" };
  writeFileSync(join(draft, "owner.json"), JSON.stringify(owner));
  renameSync(draft, directory);
  return directory;
}

/** Ids of all worlds on this machine, with whether each is left over from a process that is gone. */
export function worlds(): { readonly id: string; readonly persistent: boolean; readonly stale: boolean }[] {
  if (!existsSync(WORLDS)) return [];
  return readdirSync(WORLDS)
    .filter((id) => !id.startsWith("."))
    .map((id) => {
      let owner: Owner | null;
      try {
        owner = JSON.parse(readFileSync(join(WORLDS, id, "owner.json"), "utf8"));
      } catch {
        // Half removed: `removeWorld` deletes the owner with the rest.
        return { id, persistent: false, stale: true };
      }
      const stale = owner !== null && startTime(owner.pid) !== owner.startTime;
      return { id, persistent: owner === null, stale };
    });
}

/** Removes worlds whose owner is gone. Returns their ids. */
export function removeStale(): string[] {
  const stale = worlds().filter((world) => world.stale);
  for (const { id } of stale) removeWorld(id);
  return stale.map(({ id }) => id);
}

/** Removes everything of a world: processes, mounts, namespaces, control groups, files. Harmless when there is nothing. */
export function removeWorld(id: string): void {
  const directory = join(WORLDS, id);
  thaw(id);
  const namespaces = namespaceInodes(id, directory);
  // A process may start another while the list is read, so until none is left; a bound keeps a stuck one from hanging us.
  for (let round = 0; round < 100; round++) {
    const pids = processesIn(namespaces);
    if (pids.length === 0) break;
    for (const pid of pids) signal(pid);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
  }
  removeShimSockets(directory);
  for (const mount of mountsBelow(directory)) attempt("umount", ["-l", mount]);
  for (const name of [hostNamespace(id), internetNamespace(id)]) {
    if (existsSync(`/run/netns/${name}`)) attempt("ip", ["netns", "del", name]);
  }
  for (const root of controlGroupRoots(id)) removeFolders(root);
  rmSync(directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
}

/** A frozen process (a paused container) does not die of a signal in the first version of control groups. */
function thaw(id: string): void {
  const freezer = `/sys/fs/cgroup/freezer${controlGroup(id)}`;
  if (!existsSync(freezer)) return;
  for (const entry of readdirSync(freezer, { withFileTypes: true })) {
    if (entry.isDirectory()) writeFileSync(join(freezer, entry.name, "freezer.state"), "THAWED");
  }
}

/** Inodes of the world's own namespaces and those of its containers; never that of the caller. */
function namespaceInodes(id: string, directory: string): Set<number> {
  const own = statSync("/proc/self/ns/net");
  const sandboxes = join(directory, "exec/netns");
  const paths = [hostNamespace(id), internetNamespace(id)].map((name) => `/run/netns/${name}`);
  if (existsSync(sandboxes)) paths.push(...readdirSync(sandboxes).map((name) => join(sandboxes, name)));
  const inodes = new Set<number>();
  for (const path of paths) {
    if (!existsSync(path)) continue;
    const found = statSync(path);
    // A path whose namespace was unmounted is a plain file of another file system.
    if (found.dev === own.dev && found.ino !== own.ino) inodes.add(found.ino);
  }
  return inodes;
}

function processesIn(inodes: ReadonlySet<number>): number[] {
  const pids: number[] = [];
  for (const name of readdirSync("/proc")) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || startTime(pid) === null) continue;
    try {
      const inode = Number(/\[(\d+)\]/.exec(readlinkSync(`/proc/${pid}/ns/net`))?.[1]);
      if (inodes.has(inode)) pids.push(pid);
    } catch (error) {
      // It ended while we looked, or belongs to a sandbox around us and is none of ours.
      if (!["ENOENT", "ESRCH", "EACCES"].includes(systemCode(error))) throw error;
    }
  }
  return pids;
}

function signal(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    if (systemCode(error) !== "ESRCH") throw error;
  }
}

/** containerd's shims listen under /run/containerd/s and leave the sockets behind when killed. */
function removeShimSockets(directory: string): void {
  const tasks = join(directory, "exec/containerd/daemon/io.containerd.runtime.v2.task/moby");
  if (!existsSync(tasks)) return;
  for (const task of readdirSync(tasks)) {
    const file = join(tasks, task, "address");
    if (!existsSync(file)) continue;
    const socket = readFileSync(file, "utf8").trim().replace("unix://", "");
    if (socket.startsWith("/run/containerd/s/") && existsSync(socket)) unlinkSync(socket);
  }
}

/** Mount points below a folder, innermost first. */
function mountsBelow(directory: string): string[] {
  return readFileSync("/proc/self/mounts", "utf8")
    .split("\n")
    .map((line) => line.split(" ")[1] ?? "")
    .filter((path) => path.startsWith(`${directory}/`))
    .sort((a, b) => b.length - a.length);
}

function controlGroupRoots(id: string): string[] {
  const mounts = readFileSync("/proc/self/mounts", "utf8")
    .split("\n")
    .map((line) => line.split(" "))
    .filter((fields) => fields[2] === "cgroup" || fields[2] === "cgroup2");
  return mounts.map((fields) => `${fields[1]}${controlGroup(id)}`).filter((path) => existsSync(path));
}

/** `rmdir` from the inside out; a control group's files go with it. */
function removeFolders(path: string): void {
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    if (entry.isDirectory()) removeFolders(join(path, entry.name));
  }
  try {
    rmdirSync(path);
  } catch (error) {
    if (systemCode(error) !== "EBUSY" && systemCode(error) !== "ENOENT") throw error;
  }
}

/** What cannot be removed is left to the next sweep rather than keeping the rest from going. */
function attempt(command: string, args: readonly string[]): void {
  try {
    execFileSync(command, args, { stdio: ["ignore", "ignore", "pipe"] });
  } catch (error) {
    console.error(`lab: ${error instanceof Error ? error.message.trim() : String(error)}`);
  }
}
