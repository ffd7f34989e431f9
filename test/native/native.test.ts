/** The addon on the real kernel: the conformance suite, and what each call says when it is not permitted. */
import { fileURLToPath } from "node:url";
import t from "tap";
import { makeNamespace, run, testInside, unable } from "./namespace.ts";

await testInside(t, "conformance");

t.test("without capabilities each refusal says which is needed", { skip: unable() }, async (t) => {
  const name = makeNamespace(t, "unprivileged");
  const script = fileURLToPath(new URL("./unprivileged.ts", import.meta.url));
  const without = "-net_admin,-net_raw,-sys_admin";
  const drop = ["setpriv", `--bounding-set=${without}`, `--inh-caps=${without}`];
  const output = run(
    "nsenter",
    `--net=/run/netns/${name}`,
    ...drop,
    process.execPath,
    ...process.execArgv,
    script,
  );
  const denied = /^TM_NOT_PERMITTED .*CAP_NET_ADMIN/;
  t.match(JSON.parse(output), {
    queue: denied,
    ipset: denied,
    conntrackDelete: denied,
    conntrackMark: denied,
    conntrackStates: denied,
    mark: denied,
    namespace: /^TM_NOT_PERMITTED .*CAP_SYS_ADMIN/,
    links: "done: true",
    unmarked: "done: true",
  });
});
