/**
 * The control socket's place in the file system. It is bound under another name, given its owner and mode, and only then
 * renamed: nobody can ever connect to it with rights it should not have, and a stale socket is replaced in one step.
 */
import { chmodSync, chownSync, lstatSync, mkdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import type { Server } from "node:http";
import { connect } from "node:net";
import { dirname } from "node:path";
import { systemCode, TidesmanError } from "../errors.ts";

/** Milliseconds that an old socket's owner has to accept a connection before it counts as live but stuck. */
const PROBE = 2_000;

export interface BoundSocket {
  readonly path: string;
  /** Removes the socket, if it is still ours. */
  remove(): void;
}

/**
 * Lets `server` listen at `path`: mode 0660 for `group` when the group exists, else 0600. Throws TM_ALREADY_RUNNING when
 * someone listens there, TM_NOT_PERMITTED when the folder may not be written, TM_CONFIG when the place cannot be used.
 */
export async function listenAt(server: Server, path: string, group: string): Promise<BoundSocket> {
  if (Buffer.byteLength(path) > 90) {
    // sun_path has 108 bytes (unix(7)), and the temporary name is longer.
    throw new TidesmanError("TM_USAGE", `\`${path}\` is too long for a socket; give a shorter --runtime-dir`);
  }
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
    await refuseLiveSocket(path);
    const temporary = `${path}.${process.pid}`;
    rmSync(temporary, { force: true });
    await bind(server, temporary);
    const gid = groupId(group);
    if (gid !== null) chownSync(temporary, -1, gid);
    chmodSync(temporary, gid === null ? 0o600 : 0o660);
    renameSync(temporary, path);
  } catch (error) {
    server.close();
    throw explained(error, path);
  }
  const { ino, dev } = lstatSync(path);
  return {
    path,
    remove() {
      const now = lstatSync(path, { throwIfNoEntry: false });
      if (now?.ino === ino && now.dev === dev) rmSync(path, { force: true });
    },
  };
}

function bind(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    // Node binds before `listen` returns, so that no other file is made under this mask.
    const mask = process.umask(0o177);
    server.listen(path, () => {
      server.off("error", reject);
      resolve();
    });
    process.umask(mask);
  });
}

/** Nothing or a dead socket at `path` is fine. */
async function refuseLiveSocket(path: string): Promise<void> {
  const there = lstatSync(path, { throwIfNoEntry: false });
  if (there === undefined) return;
  if (!there.isSocket()) {
    throw new TidesmanError(
      "TM_USAGE",
      `\`${path}\` is in the way and is no socket; move it, or give another --runtime-dir`,
    );
  }
  const live = await new Promise<boolean>((resolve, reject) => {
    const probe = connect(path);
    const timer = setTimeout(() => {
      probe.destroy();
      resolve(true);
    }, PROBE);
    probe.on("connect", () => {
      clearTimeout(timer);
      probe.destroy();
      resolve(true);
    });
    probe.on("error", (error) => {
      clearTimeout(timer);
      const code = systemCode(error);
      if (code === "ECONNREFUSED" || code === "ENOENT") resolve(false);
      // Its backlog is full: somebody listens.
      else if (code === "EAGAIN") resolve(true);
      else reject(error);
    });
  });
  if (live) {
    throw new TidesmanError(
      "TM_ALREADY_RUNNING",
      `a daemon already listens at \`${path}\`; stop it first (systemctl stop tidesman), or give another --runtime-dir`,
    );
  }
}

/** From /etc/group; null when there is no such group. */
function groupId(name: string): number | null {
  if (name === "") return null;
  for (const line of readFileSync("/etc/group", "utf8").split("\n")) {
    const [group, , gid] = line.split(":");
    if (group === name && gid !== undefined) return Number(gid);
  }
  return null;
}

function explained(error: unknown, path: string): unknown {
  const code = systemCode(error);
  if (error instanceof TidesmanError || code === "") return error;
  if (code === "EACCES" || code === "EPERM" || code === "EROFS") {
    const message = `no permission to make the control socket \`${path}\` (${code}); run as root, or give another --runtime-dir`;
    return new TidesmanError("TM_NOT_PERMITTED", message, { cause: error });
  }
  const message = `cannot make the control socket \`${path}\` (${code}); give another --runtime-dir`;
  return new TidesmanError("TM_USAGE", message, { cause: error });
}
