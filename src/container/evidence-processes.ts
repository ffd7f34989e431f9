/** The processes of a container, from its control group, and what /proc says of each. The environment is never read. */
import { closeSync, openSync, readdirSync, readlinkSync, readSync } from "node:fs";
import { join } from "node:path";
import { systemCode } from "../errors.ts";
import type { ProcessEvidence } from "./evidence.ts";

/** Where the kernel shows processes and control groups. */
export interface Places {
  readonly proc: string;
  readonly cgroups: string;
}
export const PLACES: Places = { proc: "/proc", cgroups: "/sys/fs/cgroup" };

const MAX_PROCESSES = 256;
/** Control groups of a container that are looked into. */
const MAX_GROUPS = 256;
/** Bytes of a command line. */
const COMMAND_LINE = 1_024;
const TICK = 10;

/** Host pids of the container's processes, ascending, beginning with `pid`, its first. */
export function processesOf(pid: number, id: string, isLate: () => boolean, places = PLACES): number[] {
  const found = new Set<number>();
  for (const directory of groupsOf(pid, id, places)) {
    collect(directory, found, { left: MAX_GROUPS });
    if (found.size > 0) break;
  }
  if (!found.has(pid)) scan(pid, id, found, isLate, places);
  return [pid, ...[...found].filter((one) => one !== pid).sort((a, b) => a - b)];
}

/** Folders of the control groups of `pid` that are named after the container, in every hierarchy that may be mounted. */
function groupsOf(pid: number, id: string, { proc, cgroups }: Places): string[] {
  const directories: string[] = [];
  // "hierarchy:controllers:path" (cgroups(7)); of version 2 "0::path".
  for (const line of readText(`${proc}/${pid}/cgroup`).split("\n")) {
    const [, controllers = "", path = ""] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    if (!path.includes(id) || path.includes("..")) continue;
    const mounts = controllers === "" ? ["", "unified"] : [controllers.replace(/^name=/, "")];
    for (const mount of mounts) directories.push(join(cgroups, mount, path));
  }
  return directories;
}

function collect(directory: string, found: Set<number>, bound: { left: number }): void {
  if (bound.left-- <= 0) return;
  for (const text of readText(join(directory, "cgroup.procs"), 1 << 16).split("\n")) {
    if (Number(text) > 0) found.add(Number(text));
  }
  for (const name of directoriesIn(directory)) collect(join(directory, name), found, bound);
}

/** Where control groups are not to be seen: those with the container's name in them, or of its pid namespace. */
function scan(pid: number, id: string, found: Set<number>, isLate: () => boolean, { proc }: Places): void {
  const namespace = link(`${proc}/${pid}/ns/pid`);
  const isOurs = namespace === "" || namespace === link(`${proc}/self/ns/pid`);
  for (const name of entries(proc)) {
    if (isLate()) return;
    if (!/^\d+$/.test(name)) continue;
    const isOfNamespace = !isOurs && link(`${proc}/${name}/ns/pid`) === namespace;
    if (isOfNamespace || readText(`${proc}/${name}/cgroup`).includes(id)) found.add(Number(name));
  }
}

export function readProcesses(
  pids: readonly number[],
  isLate: () => boolean,
  { proc } = PLACES,
): { readonly found: readonly ProcessEvidence[]; readonly omitted: number } {
  const found: ProcessEvidence[] = [];
  const boot = Number(/^btime (\d+)$/m.exec(readText(`${proc}/stat`, 1 << 20))?.[1] ?? Number.NaN) * 1_000;
  let gone = 0;
  for (const pid of pids.slice(0, MAX_PROCESSES)) {
    if (isLate()) break;
    const process = readProcess(`${proc}/${pid}`, pid, boot);
    if (process === null) gone++;
    else found.push(process);
  }
  return { found, omitted: pids.length - gone - found.length };
}

/** Null when it has ended. */
function readProcess(folder: string, pid: number, boot: number): ProcessEvidence | null {
  const status = readText(`${folder}/status`);
  if (status === "") return null;
  const field = (name: string): string => new RegExp(`^${name}:\t(.*)$`, "m").exec(status)?.[1] ?? "";
  const stat = readText(`${folder}/stat`);
  // The name, in brackets, may hold brackets and spaces; `starttime` is the 22nd field (proc_pid_stat(5)).
  const ticks = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19]);
  const startedAt = boot + ticks * TICK;
  return {
    pid,
    innerPid: Number(field("NSpid").split("\t").at(-1)) || pid,
    parent: Number(field("PPid")) || 0,
    user: Number(field("Uid").split("\t")[1] ?? 0),
    group: Number(field("Gid").split("\t")[1] ?? 0),
    name: field("Name"),
    executable: link(`${folder}/exe`),
    commandLine: readText(`${folder}/cmdline`, COMMAND_LINE).replace(/\0+$/, "").replaceAll("\0", " "),
    startedAt: Number.isFinite(startedAt) ? new Date(startedAt).toISOString() : null,
  };
}

// ------------------------------------------------------------------------------------------------ reading

/** At most `most` bytes of a file; empty when there is none any more. */
export function readText(path: string, most = 8_192): string {
  return attempt(() => {
    const descriptor = openSync(path, "r");
    try {
      const bytes = Buffer.alloc(most);
      let length = 0;
      // Files of /proc give a page at a time.
      for (let read = -1; read !== 0 && length < most; length += read) {
        read = readSync(descriptor, bytes, length, most - length, null);
      }
      return bytes.toString("utf8", 0, length);
    } finally {
      closeSync(descriptor);
    }
  }, "");
}

export function link(path: string): string {
  return attempt(() => readlinkSync(path), "");
}

export function entries(path: string): readonly string[] {
  return attempt(() => readdirSync(path), []);
}

function directoriesIn(path: string): readonly string[] {
  return attempt(
    () =>
      readdirSync(path, { withFileTypes: true })
        .filter((entry) => entry.isDirectory())
        .map(({ name }) => name),
    [],
  );
}

function attempt<Value>(act: () => Value, otherwise: Value): Value {
  try {
    return act();
  } catch (error) {
    if (systemCode(error) === "") throw error;
    return otherwise;
  }
}
