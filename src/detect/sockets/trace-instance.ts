/**
 * A private tracefs instance that records calls of socket(2) for raw and packet sockets, however short they live.
 *
 * It has its own buffer and its own events; nobody else's tracing is touched, and it goes away with `close`. What a killed
 * process left behind is removed by the next start. The kernel filters, so that other sockets cost nothing here.
 *
 * The arguments are recorded as whole registers, of which the kernel uses the lower 32 bits: a caller can set the others and
 * match no list of what is wanted. So the filter says what is not wanted (UNIX and netlink sockets, and TCP and UDP ones of
 * the Internet families), and `parseTrace` looks at the rest as the kernel does.
 *
 * A call that failed is none. Its failure is recorded right behind it (`sys_exit_socket`, only where the result is
 * negative), so a call counts when none has followed for a moment.
 *
 * Not seen: sockets made by 32-bit programs and by io_uring, which come by other ways. The tables show those that stay.
 */
import {
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  rmdirSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { systemCode } from "../../errors.ts";

/** Where tracefs usually is mounted; the second is where debugfs mounts it by itself. */
export const TRACEFS: readonly string[] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

const PREFIX = "tidesman-";
/** Buffer of each processor, kilobytes: some 600 calls. What does not fit is lost, and counted. */
const BUFFER_KB = 64;
/** Read at once, bytes; the rest waits for the next read. */
const READ_SIZE = 65_536;

/** SOCK_STREAM and SOCK_DGRAM, each alone and with SOCK_NONBLOCK (0x800), SOCK_CLOEXEC (0x80000) or both. */
const HARMLESS_TYPES = [1, 2].flatMap((type) => [type, type | 0x800, type | 0x80000, type | 0x80800]);
/** AF_UNIX 1, AF_NETLINK 16; AF_INET 2, AF_INET6 10. */
const ENTER_FILTER = `family!=1&&family!=16&&((family!=2&&family!=10)||(${HARMLESS_TYPES.map((type) => `type!=${type}`).join("&&")}))`;
const EXIT_FILTER = "ret<0";

export type TraceRecord =
  | {
      readonly kind: "call";
      readonly thread: number;
      /** Name of the thread as it was. */
      readonly command: string;
      readonly socket: "raw" | "packet";
      readonly protocol: number;
    }
  | { readonly kind: "failure"; readonly thread: number }
  | { readonly kind: "lost"; readonly count: number };

/**
 * One line of a trace, or undefined for what is of no interest:
 * `         tcpdump-4711    [001] .....  5352.142717: sys_socket(family: 0x11, type: 0x80003, protocol: 0x300)`
 * The name is the caller's to choose, anything but NUL, so the line is read from its end.
 */
export function parseTrace(line: string): TraceRecord | undefined {
  const lost = /^CPU:\d+ \[LOST (\d+) EVENTS\]$/.exec(line);
  if (lost !== null) return { kind: "lost", count: Number(lost[1]) };
  const parts = /^(.*)-(\d+) +\[\d+\] \S+ +\d+\.\d+: sys_socket(?:\((.*)\)| -> (0x[0-9a-f]+))$/s.exec(line);
  if (parts === null) return undefined;
  const [, name = "", pid, call, result] = parts;
  const thread = Number(pid);
  if (result !== undefined) return { kind: "failure", thread };
  const values = /^family: (\w+), type: (\w+), protocol: (\w+)$/.exec(call ?? "");
  if (values === null) return undefined;
  const [family = 0, type = 0, protocol = 0] = values.slice(1).map(lower32);
  const kind = type & 0xf;
  const command = name.trimStart();
  if (family === 17) return { kind: "call", thread, command, socket: "packet", protocol: swap16(protocol) };
  if (family !== 2 && family !== 10) return undefined;
  // SOCK_PACKET of AF_INET, the old way to a packet socket (net/socket.c, __sock_create).
  if (kind === 10) return { kind: "call", thread, command, socket: "packet", protocol: swap16(protocol) };
  return kind === 3 ? { kind: "call", thread, command, socket: "raw", protocol } : undefined;
}

function lower32(text: string): number {
  return Number(BigInt.asUintN(32, BigInt(text)));
}
/** The protocol of a packet socket is given in network order. */
function swap16(value: number): number {
  return ((value & 0xff) << 8) | ((value >> 8) & 0xff);
}

export class TraceInstance {
  /** Of its trace_pipe, not blocking. */
  readonly descriptor: number;
  readonly #path: string;
  readonly #buffer = Buffer.allocUnsafe(READ_SIZE);
  #rest = "";
  #open = true;

  private constructor(path: string, descriptor: number) {
    this.#path = path;
    this.descriptor = descriptor;
  }

  /**
   * Makes `tidesman-PID` in the first of the mounts that is one, and begins to record. Throws an Error that says why it
   * cannot be, with nothing left behind.
   */
  static open(mounts: readonly string[] = TRACEFS, pid: number = process.pid): TraceInstance {
    const mount = mounts.find((candidate) => existsSync(join(candidate, "instances")));
    if (mount === undefined) {
      const [place] = mounts;
      throw new Error(`tracefs is not mounted (mount -t tracefs tracefs ${place})`);
    }
    if (!existsSync(join(mount, "events/syscalls/sys_enter_socket"))) {
      throw new Error("the kernel does not trace system calls (CONFIG_FTRACE_SYSCALLS)");
    }
    sweep(mount, pid);
    const path = join(mount, "instances", `${PREFIX}${pid}`);
    let descriptor = -1;
    try {
      mkdirSync(path);
      const write = (file: string, text: string): void => writeFileSync(join(path, file), text);
      write("buffer_size_kb", String(BUFFER_KB));
      // Else a reader is woken only once the buffer is half full.
      write("buffer_percent", "0");
      write("events/syscalls/sys_enter_socket/filter", ENTER_FILTER);
      write("events/syscalls/sys_exit_socket/filter", EXIT_FILTER);
      descriptor = openSync(join(path, "trace_pipe"), constants.O_RDONLY | constants.O_NONBLOCK);
      write("events/syscalls/sys_exit_socket/enable", "1");
      write("events/syscalls/sys_enter_socket/enable", "1");
      return new TraceInstance(path, descriptor);
    } catch (error) {
      if (descriptor >= 0) closeSync(descriptor);
      remove(path);
      const reason = error instanceof Error ? error.message : String(error);
      throw new Error(`tracefs refuses an instance of our own (${reason})`, { cause: error });
    }
  }

  /** What was recorded since, at most READ_SIZE bytes of it; `more`: that many were there. Does not wait. */
  read(): { readonly records: readonly TraceRecord[]; readonly more: boolean } {
    let length = 0;
    try {
      while (length < READ_SIZE) {
        const count = readSync(this.descriptor, this.#buffer, length, READ_SIZE - length, null);
        if (count === 0) break;
        length += count;
      }
    } catch (error) {
      if (systemCode(error) !== "EAGAIN") throw error;
    }
    const lines = (this.#rest + this.#buffer.toString("latin1", 0, length)).split("\n");
    this.#rest = lines.pop() ?? "";
    const records: TraceRecord[] = [];
    for (const line of lines) {
      const record = parseTrace(line);
      if (record !== undefined) records.push(record);
    }
    return { records, more: length >= READ_SIZE - 4096 };
  }

  /** Ends the recording and removes the instance. Whoever else holds the descriptor must have let go of it. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    closeSync(this.descriptor);
    remove(this.#path);
  }
}

/** Removes the instances of processes that are gone, and one that an earlier process under our own number left. */
function sweep(mount: string, own: number): void {
  for (const name of readdirSync(join(mount, "instances"))) {
    const pid = Number(new RegExp(`^${PREFIX}(\\d+)$`).exec(name)?.[1] ?? Number.NaN);
    if (pid === own || (!Number.isNaN(pid) && !existsSync(`/proc/${pid}`)))
      remove(join(mount, "instances", name));
  }
}

/** No error when it is not there, or when somebody still reads from it: the next start removes it. */
function remove(path: string): void {
  try {
    rmdirSync(path);
  } catch (error) {
    if (systemCode(error) === "") throw error;
  }
}
