/** What the running kernel lacks for packets to be seen and attributed. Reading only. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

const BRIDGE_SYSCTLS = [
  { sysctl: "bridge-nf-call-iptables", version: "IPv4" },
  { sysctl: "bridge-nf-call-ip6tables", version: "IPv6" },
] as const;

/** Modules that the rules and the queue need; loaded on demand where they exist. */
const MODULES = [
  "nfnetlink_queue",
  "nf_conntrack",
  "nf_conntrack_netlink",
  "xt_NFQUEUE",
  "xt_connmark",
  "xt_hashlimit",
  "xt_set",
  "xt_REDIRECT",
  "ip_set_hash_ip",
  "ip_set_hash_net",
] as const;

/**
 * One text per shortcoming, with the command that mends it; empty when all is well. `root` is where /proc, /sys and /lib
 * are found.
 */
export function inspectKernel(root = "/"): readonly string[] {
  const warnings: string[] = [];
  for (const { sysctl, version } of BRIDGE_SYSCTLS) {
    const value = read(root, `proc/sys/net/bridge/${sysctl}`);
    if (value === null) {
      // The directory is there once the module is.
      warnings.push(
        "the kernel module br_netfilter is not loaded: packets are known by their source address alone, and traffic " +
          "between containers of one bridge is not seen; run `modprobe br_netfilter`",
      );
      break;
    }
    if (value !== "1") {
      warnings.push(
        `net.bridge.${sysctl} is ${value}: ${version} packets are known by their source address alone, and traffic ` +
          `between containers of one bridge is not seen; run \`sysctl -w net.bridge.${sysctl}=1\``,
      );
    }
  }
  const missing = missingModules(root);
  if (missing.length > 0) {
    warnings.push(
      `the kernel has no module ${missing.join(", ")}: rules that need it cannot be installed; install the package ` +
        "with the rest of this kernel's modules",
    );
  }
  return warnings;
}

/** Where the kernel's list of modules is not to be had, nothing counts as missing: installing the rules will tell. */
function missingModules(root: string): readonly string[] {
  const release = read(root, "proc/sys/kernel/osrelease");
  if (release === null) return [];
  const builtin = read(root, `lib/modules/${release}/modules.builtin`);
  const loadable = read(root, `lib/modules/${release}/modules.dep`);
  if (builtin === null || loadable === null) return [];
  const known = `${builtin}\n${loadable}`;
  return MODULES.filter((name) => {
    if (existsSync(join(root, "sys/module", name))) return false;
    return !new RegExp(`/${name}\\.ko(\\.[a-z0-9]+)?(:|$)`, "m").test(known);
  });
}

/** Content without the final line break, or null when there is no such file or it may not be read. */
function read(root: string, path: string): string | null {
  try {
    return readFileSync(join(root, path), "utf8").trim();
  } catch {
    // Absence is an answer here, whatever its reason.
    return null;
  }
}
