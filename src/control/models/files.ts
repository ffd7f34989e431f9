/** Files that model commands read and write; what goes wrong is told with the file's name. */
import {
  closeSync,
  fchmodSync,
  fchownSync,
  fsyncSync,
  openSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { resolve } from "node:path";
import { type ErrorCode, systemCode, TidesmanError } from "../../errors.ts";

const STANDARD_INPUT = "/dev/stdin";

/** Place of a file named on the command line; `-` is standard input. */
export function inputFile(file: string): string {
  return file === "-" ? STANDARD_INPUT : resolve(file);
}

/** The text at a place of `inputFile`. Throws what the system says. */
export function readInput(file: string): string {
  // By its descriptor: a socket cannot be opened by a name.
  return readFileSync(file === STANDARD_INPUT ? 0 : file, "utf8");
}

/** `missing`: code of the error when it is not there. */
export function readText(file: string, missing: ErrorCode): string {
  try {
    return readInput(file);
  } catch (error) {
    throw failure(file, "read", error, systemCode(error) === "ENOENT" ? missing : "TM_USAGE");
  }
}

/** `mode`: of a file that is not there; one that is keeps its mode and owner. Whenever it fails, the old file is whole. */
export function writeWhole(file: string, text: string, mode: number): void {
  let target = file;
  let temporary = "";
  try {
    const known = statSync(file, { throwIfNoEntry: false });
    // A link stays one.
    if (known !== undefined) target = realpathSync(file);
    if (known?.isFile() === false) {
      // A device or a pipe takes what is written; it cannot be replaced.
      writeFileSync(target, text);
      return;
    }
    const name = `${target}.new-${process.pid}`;
    const handle = openSync(name, "wx", 0o600);
    temporary = name;
    try {
      writeFileSync(handle, text);
      if (known !== undefined) fchownSync(handle, known.uid, known.gid);
      fchmodSync(handle, known === undefined ? mode : known.mode & 0o7777);
      fsyncSync(handle);
    } finally {
      closeSync(handle);
    }
    renameSync(temporary, target);
  } catch (error) {
    if (temporary !== "") rmSync(temporary, { force: true });
    throw failure(file, "written", error, "TM_USAGE");
  }
}

function failure(file: string, what: string, cause: unknown, otherwise: ErrorCode): TidesmanError {
  const system = systemCode(cause);
  const code = system === "EACCES" || system === "EPERM" ? "TM_NOT_PERMITTED" : otherwise;
  return new TidesmanError(code, `\`${file}\` cannot be ${what}: ${system}`, { cause });
}
