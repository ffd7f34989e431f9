/** The addon on the real kernel. Each part runs in a process and a network namespace of its own. */
import { fileURLToPath } from "node:url";
import t from "tap";
import { makeNamespace, unable } from "./namespace.ts";

const skip = unable();

for (const part of ["conformance"]) {
  t.test(part, { skip }, async (t) => {
    const name = makeNamespace(t, part);
    const script = fileURLToPath(new URL(`./inside-${part}.ts`, import.meta.url));
    const enter = [`--net=/run/netns/${name}`, process.execPath, ...process.execArgv, script];
    await t.spawn("nsenter", enter, { env: { ...process.env, TAP: "1" } }, part);
  });
}
