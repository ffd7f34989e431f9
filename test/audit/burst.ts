/**
 * A process that audits a burst and is killed: `burst.ts FILE COUNT MODE`. `told`: prints the identifier of every record
 * a listener is told of, and goes on for ever. `flushed`: prints how many were taken once `flush` resolved.
 */
import { AuditLog } from "../../src/audit/store.ts";
import { systemClock } from "../../src/clock.ts";
import { lookup, START, web } from "./finding.ts";

const [file = "", count = "0", mode = ""] = process.argv.slice(2);
const log = await AuditLog.open({
  file,
  host: "h1",
  window: 60_000,
  fold: { after: 5, within: 900_000, summaries: 600_000 },
  queue: 20_000,
  retention: { age: 1e15, size: 1e12 },
  clock: systemClock,
  onNotice: (message) => process.stderr.write(`${message}\n`),
});
if (mode === "told") log.subscribe((record) => process.stdout.write(`${record.id}\n`));
let accepted = 0;
for (let index = 0; index < Number(count); index++) {
  if (log.add(lookup(`n${index}.example`, START + index), web)) accepted++;
}
if (mode === "flushed") {
  await log.flush();
  process.stdout.write(`accepted ${accepted}\n`);
}
setInterval(() => undefined, 1_000);
