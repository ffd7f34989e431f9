/**
 * The control API's client: one request a connection over the control socket. Node's own HTTP client, since a command
 * that only asks for the status should not spend most of its time loading a larger one.
 */
import { readFileSync, statSync } from "node:fs";
import { type ClientRequest, type IncomingMessage, request } from "node:http";
import { join } from "node:path";
import type { AuditRecord } from "../audit/record.ts";
import { systemCode, TidesmanError } from "../errors.ts";
import type { ModelFile } from "../model/transfer.ts";
import { errorOf } from "./failure.ts";
import type {
  ContainerReport,
  EvidenceReport,
  EvidenceSummary,
  ExemptionOutcome,
  ExemptionReport,
  FeedReport,
  IncidentReport,
  IncidentSummary,
  ModelChange,
  ModelDetail,
  ModelReport,
  PolicyReport,
  ReloadOutcome,
  ReplayReport,
  StatusReport,
  UnblockOutcome,
  WhyReport,
} from "./types.ts";

/** Milliseconds until an answer has to begin. Reloads and feed updates compile, which takes its time. */
const DEADLINE = 10_000;
const LONG_DEADLINE = 120_000;

/** Names of query parameters and their values; undefined ones are left out. */
type Query = Readonly<Record<string, string | number | undefined>>;

export type ControlEvent =
  | { readonly kind: "audit"; readonly record: AuditRecord; readonly isNew: boolean }
  /** `isNew`: it opened, for the first time or again. */
  | { readonly kind: "incident"; readonly incident: IncidentSummary; readonly isNew: boolean }
  /** So many were left out because we read too slowly. */
  | { readonly kind: "lost"; readonly count: number };

/**
 * Every method throws the daemon's own TidesmanError, TM_UNREACHABLE when nothing answers, and TM_NOT_PERMITTED when the
 * socket may not be used.
 */
export class ControlClient {
  readonly #path: string;

  constructor(runtimeDirectory: string) {
    this.#path = join(runtimeDirectory, "control.sock");
  }

  status(): Promise<StatusReport> {
    return this.#get("/api/v1/status");
  }
  containers(): Promise<readonly ContainerReport[]> {
    return this.#get("/api/v1/containers");
  }
  models(): Promise<readonly ModelReport[]> {
    return this.#get("/api/v1/models");
  }
  model(key: string): Promise<ModelDetail> {
    return this.#get(`/api/v1/models/${encodeURIComponent(key)}`);
  }
  changeModel(key: string, change: ModelChange): Promise<ModelReport> {
    return this.#post(`/api/v1/models/${encodeURIComponent(key)}/change`, change);
  }
  exportModel(key: string): Promise<ModelFile> {
    return this.#get(`/api/v1/models/${encodeURIComponent(key)}/export`);
  }
  /** What is no model's file is refused by the daemon. */
  importModel(file: unknown): Promise<ModelReport> {
    return this.#post("/api/v1/models/import", file);
  }
  audits(query: Query): Promise<readonly AuditRecord[]> {
    return this.#get("/api/v1/audits", query);
  }
  incidents(all: boolean): Promise<readonly IncidentSummary[]> {
    return this.#get("/api/v1/incidents", { all: String(all) });
  }
  incident(id: string): Promise<IncidentReport> {
    return this.#get(`/api/v1/incidents/${encodeURIComponent(id)}`);
  }
  acknowledgeIncident(id: string, note: string | null): Promise<IncidentReport> {
    return this.#post(`/api/v1/incidents/${encodeURIComponent(id)}/ack`, note === null ? {} : { note });
  }
  closeIncident(id: string, note: string): Promise<IncidentReport> {
    return this.#post(`/api/v1/incidents/${encodeURIComponent(id)}/close`, { note });
  }
  evidenceList(): Promise<readonly EvidenceSummary[]> {
    return this.#get("/api/v1/evidence");
  }
  evidence(which: string): Promise<EvidenceReport> {
    return this.#get(`/api/v1/evidence/${encodeURIComponent(which)}`);
  }
  feeds(): Promise<readonly FeedReport[]> {
    return this.#get("/api/v1/feeds");
  }
  updateFeeds(): Promise<readonly FeedReport[]> {
    return this.#post("/api/v1/feeds/update");
  }
  loadFeeds(): Promise<readonly FeedReport[]> {
    return this.#post("/api/v1/feeds/load");
  }
  policy(): Promise<PolicyReport> {
    return this.#get("/api/v1/policy");
  }
  reload(): Promise<ReloadOutcome> {
    return this.#post("/api/v1/policy/reload");
  }
  replay(text: string, file: string, since: string): Promise<ReplayReport> {
    return this.#post("/api/v1/policy/replay", { text, file, since });
  }
  why(container: string, target: string): Promise<WhyReport> {
    return this.#get("/api/v1/why", { container, target });
  }
  exemptions(): Promise<readonly ExemptionReport[]> {
    return this.#get("/api/v1/exemptions");
  }
  /** `time`: seconds. */
  exempt(
    container: string,
    target: string,
    given: {
      readonly time: number;
      readonly by?: string | undefined;
      readonly note?: string | undefined;
      readonly force?: boolean;
    },
  ): Promise<ExemptionOutcome> {
    return this.#post("/api/v1/exemptions", { container, target, ...given });
  }
  /** Without a target all of the container. */
  withdrawExemptions(
    container: string,
    target: string | undefined,
    by: string | undefined,
  ): Promise<readonly ExemptionReport[]> {
    return this.#post("/api/v1/exemptions/withdraw", { container, target, by });
  }
  unblock(container: string): Promise<UnblockOutcome> {
    return this.#post("/api/v1/unblock", { container });
  }

  /** Opens the stream of audits and incidents; the subscription holds when this resolves. The stream ends with TM_UNREACHABLE. */
  async events(): Promise<AsyncGenerator<ControlEvent, never>> {
    const response = await this.#send("GET", "/api/v1/events", undefined, DEADLINE);
    return this.#read(response);
  }

  async *#read(response: IncomingMessage): AsyncGenerator<ControlEvent, never> {
    let text = "";
    try {
      for await (const chunk of response.setEncoding("utf8")) {
        text += chunk;
        const blocks = text.split("\n\n");
        text = blocks.pop() ?? "";
        for (const block of blocks) {
          const event = eventOf(block);
          if (event !== null) yield event;
        }
      }
    } catch (error) {
      if (systemCode(error) === "") throw error;
    }
    throw new TidesmanError("TM_UNREACHABLE", "the daemon has ended the stream: it was stopped or restarted");
  }

  #get<T>(path: string, query: Query = {}): Promise<T> {
    const given = Object.entries(query).flatMap(([key, value]) =>
      value === undefined ? [] : [[key, String(value)] as [string, string]],
    );
    const suffix = given.length === 0 ? "" : `?${new URLSearchParams(given)}`;
    return this.#ask("GET", path + suffix, undefined, DEADLINE);
  }

  #post<T>(path: string, body: unknown = {}): Promise<T> {
    return this.#ask("POST", path, JSON.stringify(body), LONG_DEADLINE);
  }

  /** The shape of an answer is the daemon's to keep: both ends are of one version. */
  async #ask<T>(method: string, path: string, body: string | undefined, deadline: number): Promise<T> {
    const response = await this.#send(method, path, body, deadline);
    const text = await this.#text(response);
    try {
      return JSON.parse(text) as T;
    } catch (error) {
      const message = `what answers at \`${this.#path}\` is no tidesman daemon`;
      throw new TidesmanError("TM_INTERNAL", message, { cause: error });
    }
  }

  async #send(
    method: string,
    path: string,
    body: string | undefined,
    deadline: number,
  ): Promise<IncomingMessage> {
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      const headers = body === undefined ? {} : { "content-type": "application/json" };
      const asked: ClientRequest = request(
        { socketPath: this.#path, method, path, headers, agent: false },
        (answer) => {
          asked.setTimeout(0);
          clearTimeout(timer);
          resolve(answer);
        },
      );
      const timer = setTimeout(() => asked.destroy(this.#silent(deadline)), deadline);
      asked.on("error", (error) => {
        clearTimeout(timer);
        reject(this.#explained(error));
      });
      asked.end(body);
    });
    const status = response.statusCode ?? 0;
    if (status !== 200) throw errorOf(status, await this.#text(response));
    return response;
  }

  async #text(response: IncomingMessage): Promise<string> {
    let text = "";
    try {
      for await (const chunk of response.setEncoding("utf8")) text += chunk;
    } catch (error) {
      throw this.#explained(error);
    }
    return text;
  }

  #silent(deadline: number): TidesmanError {
    return new TidesmanError(
      "TM_UNREACHABLE",
      `the daemon accepted the connection at \`${this.#path}\` and did not answer within ${deadline / 1000} s; see its log (journalctl -u tidesman)`,
    );
  }

  #explained(error: unknown): unknown {
    if (error instanceof TidesmanError) return error;
    const code = systemCode(error);
    if (code === "EACCES" || code === "EPERM") {
      const message = `no permission to use the control socket \`${this.#path}\`; ${this.#remedy()}`;
      return new TidesmanError("TM_NOT_PERMITTED", message, { cause: error });
    }
    const why = code === "ENOENT" ? "it is not there" : code;
    return new TidesmanError(
      "TM_UNREACHABLE",
      `the daemon cannot be reached at \`${this.#path}\` (${why}); start it (systemctl start tidesman), ` +
        "or say where it runs with --runtime-dir",
      { cause: error },
    );
  }

  /** Who may use the socket is read from the socket itself. */
  #remedy(): string {
    try {
      const { gid, mode } = statSync(this.#path);
      const group = readFileSync("/etc/group", "utf8")
        .split("\n")
        .find((line) => line.split(":")[2] === String(gid));
      if ((mode & 0o020) !== 0 && gid !== 0 && group !== undefined) {
        return `run it with sudo, or join the group \`${group.split(":")[0]}\``;
      }
    } catch {
      // The folder may not even be entered: sudo it is.
    }
    return "run it with sudo";
  }
}

/** One event of the stream; null for comments and kinds of a later version. */
function eventOf(block: string): ControlEvent | null {
  let event = "";
  let data = "";
  for (const line of block.split("\n")) {
    if (line.startsWith("event: ")) event = line.slice(7);
    if (line.startsWith("data: ")) data += line.slice(6);
  }
  if (event === "audit" || event === "auditRepeated") {
    return { kind: "audit", record: JSON.parse(data) as AuditRecord, isNew: event === "audit" };
  }
  if (event === "incident" || event === "incidentChanged") {
    return { kind: "incident", incident: JSON.parse(data) as IncidentSummary, isNew: event === "incident" };
  }
  if (event === "lost") return { kind: "lost", count: (JSON.parse(data) as { count: number }).count };
  return null;
}
