/** From an errno of the addon to a message that says what happened and what to do. */
import { readFileSync } from "node:fs";
import { systemCode, TidesmanError } from "../errors.ts";

/** Bits of CapEff, linux/capability.h. */
export const CAPABILITY = { NET_BIND_SERVICE: 10, NET_ADMIN: 12, NET_RAW: 13, SYS_ADMIN: 21 } as const;

/** Reads a file of /proc; empty when there is none. A parameter, so that a test can play any kernel. */
export type ReadProc = (path: string) => string;

export const readProc: ReadProc = (path) => {
  try {
    return readFileSync(path, "latin1");
  } catch {
    // Absent or unreadable: the kernel does not tell, which callers treat as "not known".
    return "";
  }
};

/** Whether the calling thread has the effective capability; true when /proc does not tell. */
export function hasCapability(bit: number, read: ReadProc = readProc): boolean {
  const mask = /^CapEff:\s*([0-9a-f]+)$/m.exec(read("/proc/thread-self/status"))?.[1];
  return mask === undefined || ((BigInt(`0x${mask}`) >> BigInt(bit)) & 1n) === 1n;
}

/**
 * Netlink port id of the queue's binder (usually its process id), or null when nobody has it. A line of
 * /proc/net/netfilter/nfnetlink_queue begins with queue number and port id (net/netfilter/nfnetlink_queue.c, seq_show).
 */
export function queueOwner(queue: number, read: ReadProc = readProc): string | null {
  for (const line of read("/proc/net/netfilter/nfnetlink_queue").split("\n")) {
    const [number, owner] = line.trim().split(/\s+/);
    if (number === String(queue) && owner !== undefined) return owner;
  }
  return null;
}

function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function failure(doing: string, error: unknown): TidesmanError {
  return new TidesmanError("TM_NATIVE_SYSCALL", `${doing} failed: ${systemCode(error)}: ${text(error)}`, {
    cause: error,
  });
}

function notPermitted(doing: string, capability: string, error: unknown): TidesmanError {
  return new TidesmanError(
    "TM_NOT_PERMITTED",
    `not permitted to ${doing}: it needs ${capability}; run as root, or give the service that capability`,
    { cause: error },
  );
}

function unsupported(doing: string, feature: string, error: unknown): TidesmanError {
  return new TidesmanError(
    "TM_NATIVE_UNSUPPORTED",
    `cannot ${doing}: this kernel has no ${feature}; load that module or use a kernel that has it`,
    { cause: error },
  );
}

/** A second binder and a lack of CAP_NET_ADMIN are the same EPERM; /proc tells them apart. */
export function explainPacketQueue(error: unknown, queue: number, read: ReadProc = readProc): TidesmanError {
  const doing = `open packet queue ${queue}`;
  switch (systemCode(error)) {
    case "EPERM":
    case "EBUSY": {
      if (!hasCapability(CAPABILITY.NET_ADMIN, read)) return notPermitted(doing, "CAP_NET_ADMIN", error);
      const owner = queueOwner(queue, read);
      if (owner === null) return notPermitted(doing, "CAP_NET_ADMIN in the network namespace's owner", error);
      return new TidesmanError(
        "TM_NATIVE_QUEUE_TAKEN",
        `packet queue ${queue} is taken (netlink port ${owner}, usually its process id): stop that program, or choose ` +
          "another number with `network.queue`",
        { cause: error },
      );
    }
    case "EPROTONOSUPPORT":
    case "EINVAL":
      return unsupported(doing, "nfnetlink_queue", error);
    case "EOPNOTSUPP":
      return unsupported(doing, "NFQUEUE fail-open flag (nfnetlink_queue since Linux 3.6)", error);
    default:
      return failure(`opening packet queue ${queue}`, error);
  }
}

export function explainUdpSocket(
  error: unknown,
  address: string,
  port: number,
  family: 4 | 6,
): TidesmanError {
  const where = `UDP port ${port} on \`${address}\``;
  switch (systemCode(error)) {
    case "EADDRINUSE":
      return new TidesmanError(
        "TM_PORT_IN_USE",
        `${where} is in use: stop what holds it, or configure another port`,
        { cause: error },
      );
    case "EPERM":
    case "EACCES":
      return notPermitted(
        `open ${where}`,
        "CAP_NET_BIND_SERVICE below port 1024, CAP_NET_ADMIN for a mark",
        error,
      );
    case "EAFNOSUPPORT":
      return unsupported(`open ${where}`, `IPv${family} socket of that kind`, error);
    default:
      return failure(`opening ${where}`, error);
  }
}

/** The addon has put the name of an ipset error into `code` and its meaning into the message. */
export function explainIpset(error: unknown, set: string, entry: string): TidesmanError {
  const code = systemCode(error);
  if (code === "EPERM") return notPermitted(`change ipset \`${set}\``, "CAP_NET_ADMIN", error);
  if (code === "ENOSYS" || code === "EPROTONOSUPPORT") {
    return unsupported(`change ipset \`${set}\``, "ip_set", error);
  }
  return new TidesmanError(
    "TM_NATIVE_IPSET",
    `ipset \`${set}\` entry \`${entry}\`: ${code}: ${text(error)}`,
    {
      cause: error,
    },
  );
}

/** For requests to other parts of the kernel. `doing`: such as `list network interfaces`. */
export function explainRequest(error: unknown, doing: string, feature: string): TidesmanError {
  switch (systemCode(error)) {
    case "EPERM":
    case "EACCES":
      return notPermitted(doing, "CAP_NET_ADMIN, and CAP_SYS_ADMIN for other network namespaces", error);
    case "EOPNOTSUPP":
    case "EPROTONOSUPPORT":
      return unsupported(doing, feature, error);
    default:
      return new TidesmanError("TM_NATIVE_SYSCALL", `cannot ${doing}: ${systemCode(error)}: ${text(error)}`, {
        cause: error,
      });
  }
}
