/** A process that learns until it is killed: for store.test.ts. Arguments: the database. Tells what is on the disk. */
import { setTimeout as delay } from "node:timers/promises";
import { systemClock } from "../../src/clock.ts";
import { ModelStore } from "../../src/model/store.ts";

const store = new ModelStore({
  file: process.argv[2]!,
  clock: systemClock,
  learningTime: 3_600_000,
  // Entries are told right before the flush of the same tick, which is through when the timer below runs.
  onChange: (snapshot) => setImmediate(() => process.stdout.write(`${snapshot.names.length}\n`)),
  onNotice: (message) => process.stderr.write(`${message}\n`),
});
const imageDigest = "sha256:aa";
store.running([{ id: "c1", name: "one", image: "nginx", imageDigest, namespace: null, labels: {} }]);
for (let number = 0; ; number++) {
  const name = `n${number}.example`;
  store.observe([{ kind: "name", model: imageDigest, container: "c1", name, time: systemClock.now() }]);
  await delay(1);
}
