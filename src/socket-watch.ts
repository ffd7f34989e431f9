/**
 * Listening ports, raw and packet sockets: what the detectors see of containers, judged by the policy in force. On the main
 * thread: nothing of it holds up a lookup or a packet.
 */
import type { Clock } from "./clock.ts";
import type { Container } from "./container/types.ts";
import type { Parts } from "./daemon.ts";
import { type Listener, ListeningPorts } from "./detect/listening-ports.ts";
import { type RawSocket, RawSockets, type RawSocketsStatus } from "./detect/raw-sockets.ts";
import { listenerFinding, rawSocketFinding } from "./detect/sockets/finding.ts";
import { WatchedNamespaces } from "./detect/sockets/namespaces.ts";
import { hostProcessTable } from "./detect/sockets/processes.ts";
import { readRawTables } from "./detect/sockets/raw-tables.ts";
import { TraceInstance } from "./detect/sockets/trace-instance.ts";
import type { DetectorsConfig } from "./detector-config.ts";
import type { Log } from "./log.ts";
import { readListeners } from "./native/listener-rows.ts";
import type { Native } from "./native/types.ts";
import { describe } from "./policy/describe.ts";
import type { Decision, Finding, SocketEvent } from "./policy/types.ts";
import { profileOf } from "./why.ts";

export interface SocketWatchOptions {
  /** Once the daemon has started. */
  readonly parts: () => Parts;
  readonly native: Native;
  readonly clock: Clock;
  readonly log: Log;
  readonly config: DetectorsConfig["sockets"];
}

/** Listeners of one container whose verdict is remembered; past that all are told anew with the next change. */
const MAX_VERDICTS = 4_096;

export class SocketWatch {
  readonly #options: SocketWatchOptions;
  readonly #namespaces = new WatchedNamespaces();
  readonly #ports: ListeningPorts;
  readonly #raw: RawSockets;
  /** By container and listener: what was last told of it. */
  readonly #verdicts = new Map<string, Map<string, string>>();

  constructor(options: SocketWatchOptions) {
    this.#options = options;
    const { native, clock, log, config } = options;
    const { interval, udpSettle, rawSource } = config;
    const shared = { namespaces: this.#namespaces, processes: hostProcessTable, clock, interval };
    this.#ports = new ListeningPorts({
      ...shared,
      udpSettle,
      list: (path) => native.listeners(path),
      read: readListeners,
      onListener: (listener) => this.#listens(listener),
      onFailure: (path, error) => log.debug({ path, error }, "cannot look into a network namespace"),
    });
    this.#raw = new RawSockets({
      ...shared,
      tables: readRawTables,
      openTrace() {
        if (rawSource === "auto") return TraceInstance.open();
        throw new Error("`detectors.sockets.rawSource` wants it so");
      },
      watchReadable: (descriptor, callback) => native.watchReadable(descriptor, callback),
      onRawSocket: (socket) => this.#opensRaw(socket),
    });
  }

  start(): void {
    this.#ports.start();
    this.#raw.start();
  }

  stop(): void {
    this.#ports.stop();
    this.#raw.stop();
  }

  /** How raw sockets are found, and why not otherwise. */
  get rawSource(): Pick<RawSocketsStatus, "source" | "reason"> {
    const { source, reason } = this.#raw.status();
    return { source, reason };
  }

  containersChanged(upsert: readonly Container[], remove: readonly string[]): void {
    for (const id of remove) {
      this.#namespaces.remove(id);
      this.#raw.forget(id);
      this.#verdicts.delete(id);
    }
    for (const container of upsert) {
      if (container.state !== "exited") this.#namespaces.upsert(container);
    }
  }

  /** Rules, feeds or models changed: what listens is judged again, and told where that comes to something else. */
  policyChanged(): void {
    this.#ports.retell();
  }

  #listens(listener: Listener): void {
    const { protocol, port, address } = listener;
    const judged = this.#judge(listener.container, (profile) => ({
      ...{ kind: "listening", profile, protocol, port, address },
    }));
    if (judged === null) return;
    const { event, decision, message } = judged;
    const time = this.#options.clock.now();
    const model = event.profile.model?.key;
    if (decision.learn && model !== undefined) {
      this.#options
        .parts()
        .models.observe([
          { kind: "listeningPort", model, container: listener.container, protocol, port, time },
        ]);
    }
    if (this.#isNews(listener, decision)) this.#tell(listenerFinding(listener, { decision, message, time }));
  }

  /** Whether a listener was not told before, or is judged otherwise now. */
  #isNews({ container, protocol, port, address, again }: Listener, decision: Decision): boolean {
    const { effect, attackType, rule } = decision;
    const key = `${protocol}/${port}/${address.join(".")}`;
    let verdicts = this.#verdicts.get(container);
    const verdict = effect === null ? "" : `${effect} ${attackType} ${rule}`;
    if (again && (verdicts?.get(key) ?? "") === verdict) return false;
    if (verdicts === undefined || verdicts.size >= MAX_VERDICTS) {
      verdicts = new Map();
      this.#verdicts.set(container, verdicts);
    }
    if (verdict === "") verdicts.delete(key);
    else verdicts.set(key, verdict);
    return true;
  }

  #opensRaw(found: RawSocket): void {
    const { container, socket, pid, command } = found;
    const judged = this.#judge(container, (profile) => ({
      kind: "rawSocket",
      profile,
      socket,
      pid,
      command,
    }));
    if (judged === null) return;
    const { decision, message } = judged;
    this.#tell(rawSocketFinding(found, { decision, message, time: this.#options.clock.now() }));
  }

  #judge(
    id: string,
    eventFor: (profile: SocketEvent["profile"]) => SocketEvent,
  ): { readonly event: SocketEvent; readonly decision: Decision; readonly message: string } | null {
    const parts = this.#options.parts();
    const container = parts.registry.find(id);
    if (container === undefined) return null;
    const event = eventFor(profileOf(parts, container));
    const decision = parts.revisions.policy.decide(event);
    return { event, decision, message: describe(decision, event) };
  }

  #tell(finding: Finding | null): void {
    if (finding === null) return;
    const { findings, blocking } = this.#options.parts();
    findings.audit(blocking.told(finding));
  }
}
