/**
 * The service manager: readiness, watchdog and sockets it holds for us (sd_notify(3), sd_listen_fds(3)).
 *
 * The notification socket is a Unix datagram socket, which Node cannot open; `systemd-notify`, which every system with
 * systemd has, sends for us. It does so under the process id of its parent, so that `NotifyAccess=main` holds.
 */
import { readFileSync, readlinkSync } from "node:fs";
import type { Clock } from "./clock.ts";
import { type Run, run } from "./run.ts";

/** Environment variables; what is taken from them is removed, so that children do not take it for theirs. */
export type Environment = Record<string, string | undefined>;

export interface Notifier {
  /** Started, or done with a reload. `status` is one line for `systemctl status`. */
  ready(status: string): Promise<void>;
  reloading(): Promise<void>;
  stopping(): Promise<void>;
  status(text: string): Promise<void>;
  /** Pings the watchdog, twice per its interval, as long as `healthy` says yes. Nothing when none is set. */
  watch(healthy: () => boolean): { cancel(): void };
}

export interface NotifierOptions {
  readonly environment: Environment;
  readonly clock: Clock;
  /** CLOCK_MONOTONIC, microseconds. */
  readonly monotonicMicroseconds?: () => bigint;
  readonly run?: Run;
  /** Told, once, that the service manager cannot be reached. */
  readonly onError: (message: string) => void;
}

/** Speaks to the service manager that started us; does nothing when there is none. */
export function systemdNotifier(options: NotifierOptions): Notifier {
  const { environment, clock, onError } = options;
  const monotonic = options.monotonicMicroseconds ?? (() => process.hrtime.bigint() / 1000n);
  const execute = options.run ?? run;
  const present = (environment.NOTIFY_SOCKET ?? "") !== "";
  const interval = watchdogInterval(environment);
  let failed = false;
  // One after the other: RELOADING must not arrive behind the READY that ends it.
  let last: Promise<void> = Promise.resolve();

  const send = (...assignments: readonly string[]): Promise<void> => {
    if (!present) return last;
    last = last.then(async () => {
      const result = await execute("systemd-notify", ["--no-block", ...assignments]);
      if (result.status === 0 || failed) return;
      failed = true;
      onError(
        `cannot notify systemd: ${result.stderr.trim() || `systemd-notify ended with ${result.status}`}`,
      );
    });
    return last;
  };

  return {
    ready: (status) => send("READY=1", `STATUS=${oneLine(status)}`),
    reloading: () => send("RELOADING=1", `MONOTONIC_USEC=${monotonic()}`),
    stopping: () => send("STOPPING=1"),
    status: (text) => send(`STATUS=${oneLine(text)}`),
    watch(healthy) {
      if (!present || interval === null) return { cancel: () => undefined };
      return clock.every(interval / 2, () => {
        if (healthy()) void send("WATCHDOG=1");
      });
    },
  };
}

/** Milliseconds of WATCHDOG_USEC when it is meant for this process; null when there is no watchdog. */
function watchdogInterval(environment: Environment): number | null {
  const microseconds = Number(environment.WATCHDOG_USEC ?? "0");
  const pid = environment.WATCHDOG_PID;
  const ours = pid === undefined || pid === String(process.pid);
  return ours && Number.isFinite(microseconds) && microseconds > 0 ? microseconds / 1000 : null;
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, " ");
}

/** Descriptors that the service manager bound and holds. */
export interface ListenSockets {
  readonly udp: readonly number[];
  readonly tcp: readonly number[];
}

/** sd_listen_fds(3): the first descriptor passed. */
const FIRST_DESCRIPTOR = 3;

/**
 * Takes the sockets of LISTEN_FDS, when LISTEN_PID says they are ours; none otherwise. What a descriptor is the kernel
 * tells (`protocolOf`), not its place or name; one that is neither UDP nor TCP is left out and told to `onError`.
 */
export function takeListenSockets(
  environment: Environment,
  onError: (message: string) => void,
  protocolOf: (descriptor: number) => "udp" | "tcp" | null = socketProtocol,
): ListenSockets {
  const ours = environment.LISTEN_PID === String(process.pid);
  const count = ours ? Number(environment.LISTEN_FDS ?? "0") : 0;
  const names = (environment.LISTEN_FDNAMES ?? "").split(":");
  for (const key of ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"]) delete environment[key];
  const udp: number[] = [];
  const tcp: number[] = [];
  for (let index = 0; index < (Number.isInteger(count) ? count : 0); index++) {
    const descriptor = FIRST_DESCRIPTOR + index;
    const protocol = protocolOf(descriptor);
    if (protocol === "udp") udp.push(descriptor);
    else if (protocol === "tcp") tcp.push(descriptor);
    else {
      onError(
        `systemd passed descriptor ${descriptor} (\`${names[index] ?? "unknown"}\`), which is no UDP or TCP socket; ` +
          "check ListenDatagram and ListenStream in tidesman.socket",
      );
    }
  }
  return { udp, tcp };
}

/** Finds the socket's inode in the tables of /proc/self/net; only sockets of our own network namespace are there. */
function socketProtocol(descriptor: number): "udp" | "tcp" | null {
  let inode: string | undefined;
  try {
    inode = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/self/fd/${descriptor}`))?.[1];
  } catch {
    // Not open: no socket either.
    return null;
  }
  if (inode === undefined) return null;
  for (const protocol of ["udp", "tcp"] as const) {
    for (const table of [protocol, `${protocol}6`]) if (inodesOf(table).has(inode)) return protocol;
  }
  return null;
}

/** Inodes in a table such as /proc/self/net/udp6: the tenth column (Documentation/networking/proc_net_tcp.rst). */
function inodesOf(table: string): Set<string> {
  let text: string;
  try {
    text = readFileSync(`/proc/self/net/${table}`, "utf8");
  } catch {
    // A kernel without IPv6 has no such table.
    return new Set();
  }
  const lines = text.split("\n").slice(1);
  return new Set(lines.map((line) => line.trim().split(/\s+/)[9] ?? "").filter((inode) => inode !== ""));
}
