/** What listens is told when it is found, and again only when it is judged otherwise. */
import t from "tap";
import { ManualClock } from "../src/clock.ts";
import { loadConfig } from "../src/config.ts";
import type { Container } from "../src/container/types.ts";
import type { Parts } from "../src/daemon.ts";
import { createLogger } from "../src/log.ts";
import { ModelStore } from "../src/model/store.ts";
import { createFakeNative } from "../src/native/fake.ts";
import { parsePolicy } from "../src/policy/parse.ts";
import { compilePolicy } from "../src/policy/policy.ts";
import type { Finding, Policy } from "../src/policy/types.ts";
import { SocketWatch } from "../src/socket-watch.ts";

const HOUR = 3_600_000;
const KEY = "sha256:aa11aa11";

t.test("a revision tells no listener again, another verdict does, and a model learns it again", async (t) => {
  const clock = new ManualClock(HOUR);
  const native = createFakeNative(clock);
  // Any file but our own namespace does: the fake kernel goes by the path.
  const folder = t.testdir({ net: "" });
  const networkNamespace = `${folder}/net`;
  const container: Container = {
    ...{ id: "c1", name: "web", image: "shop", imageDigest: KEY, namespace: null, labels: {} },
    ...{ pid: 0, startedAt: 1, networkMode: "bridge", networkNamespace, state: "running", networks: [] },
  };
  const rules = (text: string): Policy =>
    compilePolicy(
      parsePolicy(`version: 1\nrules: [{ name: r, network: ${text} }]`, "policy.yaml").policy,
      { domain: () => [], address: () => [] },
      { revision: 1, host: "h" },
    );
  const models = new ModelStore({
    file: `${folder}/models.db`,
    clock,
    learningTime: HOUR,
    onChange: () => undefined,
    onNotice: (message) => t.fail(message),
  });
  t.teardown(() => models.close());
  models.running([container]);
  const revisions = { policy: rules("{ listeningPorts: { denied: [4444] } }") };
  const found: Finding[] = [];
  const watch = new SocketWatch({
    parts: () =>
      ({
        registry: { find: () => container },
        revisions,
        models,
        exemptions: { of: () => null },
        blocking: { told: (finding: Finding) => finding },
        findings: { audit: (finding: Finding) => found.push(finding) },
      }) as unknown as Parts,
    native,
    clock,
    log: createLogger({ level: "error", readable: false, colour: false, write: () => undefined }),
    config: { ...loadConfig(null, "tidesman.yaml", "h1").detectors.sockets, rawSource: "tables" },
  });
  t.teardown(() => watch.stop());
  const told = (): string[] => {
    clock.advance(60_000);
    return found
      .splice(0)
      .map(({ effect, attackType, connection }) => `${effect} ${attackType} ${connection?.port}`);
  };
  const listens = (port: number) => ({ protocol: 6, address: "0.0.0.0", port, inode: port, uid: 0 }) as const;
  native.setListeners(networkNamespace, [listens(80), listens(4444)]);
  watch.containersChanged([container], []);
  watch.start();
  t.strictSame(told(), ["alert explicitlyDeniedListeningPort 4444"]);
  t.equal(models.show(KEY)?.listeningPorts, 1);
  watch.policyChanged();
  t.strictSame(told(), [], "feeds or the state of a model made a new revision");
  models.change(KEY, { action: "relearn", afresh: true });
  watch.policyChanged();
  t.strictSame(told(), []);
  t.equal(models.show(KEY)?.listeningPorts, 1, "it learned it again");
  revisions.policy = rules("{ listeningPorts: { denied: [80, 4444] } }");
  watch.policyChanged();
  t.strictSame(told(), ["alert explicitlyDeniedListeningPort 80"]);
  revisions.policy = rules("{}");
  watch.policyChanged();
  t.strictSame(told(), []);
  revisions.policy = rules("{ listeningPorts: { denied: [4444] } }");
  watch.policyChanged();
  t.strictSame(told(), ["alert explicitlyDeniedListeningPort 4444"], "it was in order meanwhile");
});
