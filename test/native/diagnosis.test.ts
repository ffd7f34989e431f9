import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { EXIT } from "../../src/errors.ts";
import {
  explainIpset,
  explainPacketQueue,
  explainRequest,
  explainUdpSocket,
  hasCapability,
  queueOwner,
  type ReadProc,
} from "../../src/native/diagnosis.ts";
import { loadNative } from "../../src/native/native.ts";

function errno(code: string, message = "step: text"): Error {
  return Object.assign(new Error(message), { code });
}

/** A /proc with those capabilities, and a queue 7 held by port 4711. */
function proc(capabilities: string): ReadProc {
  return (path) =>
    path.endsWith("status")
      ? `Name:\tnode\nCapPrm:\t0\nCapEff:\t${capabilities}\n`
      : "    7   4711     0 2   128     0     0        5  1\n   17     42     0 2   128     0     0        5  1\n";
}

const ALL = "000001ffffffffff";
const NONE = "0000000000000000";

t.test("capabilities and the owner of a queue are read from /proc", async (t) => {
  t.ok(hasCapability(12, proc(ALL)));
  t.notOk(hasCapability(12, proc("000001ffffffefff")));
  t.ok(
    hasCapability(12, () => ""),
    "not known is not denied",
  );
  t.equal(queueOwner(7, proc(ALL)), "4711");
  t.equal(queueOwner(1, proc(ALL)), null);
  t.equal(
    queueOwner(7, () => ""),
    null,
  );
});

t.test("one EPERM, two meanings", async (t) => {
  const taken = explainPacketQueue(errno("EPERM"), 7, proc(ALL));
  t.match(taken, { code: "TM_NATIVE_QUEUE_TAKEN", message: /queue 7 .*4711.*network\.queue/ });
  const denied = explainPacketQueue(errno("EPERM"), 7, proc(NONE));
  t.match(denied, { code: "TM_NOT_PERMITTED", exitStatus: EXIT.notPermitted, message: /CAP_NET_ADMIN/ });
  t.match(explainPacketQueue(errno("EPERM"), 8, proc(ALL)), { code: "TM_NOT_PERMITTED" });
});

t.test("a kernel without the feature", async (t) => {
  for (const code of ["EINVAL", "EPROTONOSUPPORT", "EOPNOTSUPP"]) {
    t.match(explainPacketQueue(errno(code), 7), {
      code: "TM_NATIVE_UNSUPPORTED",
      message: /nfnetlink_queue/,
    });
  }
  t.match(explainIpset(errno("ENOSYS"), "s", "e"), { code: "TM_NATIVE_UNSUPPORTED", message: /ip_set/ });
  t.match(explainRequest(errno("EOPNOTSUPP"), "reset", "CONFIG_INET_DIAG_DESTROY"), {
    code: "TM_NATIVE_UNSUPPORTED",
    message: /CONFIG_INET_DIAG_DESTROY/,
  });
  t.match(explainUdpSocket(errno("EAFNOSUPPORT"), "::", 53, 6), { code: "TM_NATIVE_UNSUPPORTED" });
});

t.test("all others keep the errno and the step", async (t) => {
  const cause = errno("ENOMEM", "bind queue: not enough memory");
  const failure = explainPacketQueue(cause, 7);
  t.match(failure, { code: "TM_NATIVE_SYSCALL", message: /queue 7 .*ENOMEM.*bind queue/, cause });
  t.match(explainUdpSocket(errno("EADDRNOTAVAIL"), "198.51.100.9", 53, 4), {
    code: "TM_NATIVE_SYSCALL",
    message: /port 53 on `198\.51\.100\.9`.*EADDRNOTAVAIL/,
  });
  t.match(explainUdpSocket(errno("EACCES"), "::", 53, 6), { code: "TM_NOT_PERMITTED" });
  t.match(explainUdpSocket(errno("EADDRINUSE"), "::", 53, 6), { code: "TM_PORT_IN_USE" });
});

t.test("an addon that is missing or broken says how to build it", async (t) => {
  t.throws(() => loadNative(["/nowhere/tidesman.node"]), {
    code: "TM_NATIVE_MISSING",
    message: /`\/nowhere\/tidesman\.node` is missing.*make -C src\/native/,
  });
  const directory = mkdtempSync(join(tmpdir(), "tm-native-"));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const place = join(directory, "tidesman.node");
  writeFileSync(place, "not a library");
  t.throws(() => loadNative([place]), { code: "TM_NATIVE_MISSING", message: /cannot be loaded.*make -C/ });
  const old = join(directory, "old.cjs");
  writeFileSync(old, "exports.openPacketQueue = () => undefined;");
  t.throws(() => loadNative([old]), {
    code: "TM_NATIVE_MISSING",
    message: /built from other sources.*make -C/,
  });
});
