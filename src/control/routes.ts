/** The control API's routes: what each takes, does and answers with. api.ts serves them, openapi.ts describes them. */
import { z } from "zod";
import { DEFAULT_AUDIT_LIMIT, MAX_AUDIT_LIMIT } from "../audit/filter.ts";
import { TidesmanError } from "../errors.ts";
import { ATTACK_TYPES } from "../policy/types.ts";
import { parseMoment } from "./moment.ts";
import * as schema from "./schema.ts";
import { parseTarget } from "./target.ts";
import type { ControlDependencies } from "./types.ts";

/** What came in: unchecked until the route's schemas have seen it. */
export interface Input {
  readonly path: unknown;
  readonly query: unknown;
  readonly body: unknown;
}

export interface Route {
  readonly method: "GET" | "POST";
  /** With `:name` for a part that varies. */
  readonly path: string;
  readonly summary: string;
  readonly pathParameters?: z.ZodObject;
  readonly query?: z.ZodObject;
  readonly body?: z.ZodType;
  /** Its body is the text of a model's or policy's file, larger than others may be. */
  readonly takes?: "model" | "policy";
  readonly response: z.ZodType;
  readonly handle: (dependencies: ControlDependencies, input: Input) => Promise<unknown>;
}

const modelPath = z.object({ key: z.string().min(1) });
const noModel = (key: string): TidesmanError =>
  new TidesmanError("TM_NOT_FOUND", `no model \`${key}\`; \`tidesman models\` lists them`);
const replayBody = z.strictObject({
  text: z.string().describe("Of a policy.yaml"),
  file: z.string().min(1).max(4_096).default("policy.yaml").describe("What it is called in messages"),
  since: z.string().default("24h").describe("How long ago, or an ISO 8601 time: audits active since then"),
});
const whyQuery = z.strictObject({
  container: z.string().min(1).describe("Name, id, or beginning of an id"),
  target: z.string().min(1).describe("A name, or ADDRESS[:PORT[/PROTOCOL]]"),
});
const operator = z.string().trim().min(1).max(64).describe("Who does it; kept as it is said");
const exemptBody = z.strictObject({
  container: z.string().min(1),
  target: z.string().min(1).max(300).describe("A name pattern, or ADDRESS[:PORT[/PROTOCOL]]"),
  time: z.number().positive().describe("Seconds"),
  by: operator.optional(),
  note: z.string().trim().min(1).max(200).optional(),
  force: z.boolean().default(false).describe("Also a wildcard over a public suffix"),
});
const withdrawBody = z.strictObject({
  container: z.string().min(1),
  target: z.string().min(1).max(300).optional().describe("Without it all of the container"),
  by: operator.optional(),
});
const unblockBody = z.strictObject({ container: z.string().min(1) });
const auditQuery = z.strictObject({
  since: z.string().optional().describe("How long ago (`1h`) or an ISO 8601 time; records active since then"),
  until: z.string().optional().describe("As `since`; records begun by then"),
  container: z.string().min(1).optional().describe("Name, id, or beginning of an id"),
  attackType: z.enum(ATTACK_TYPES).optional(),
  effect: z.enum(["alert", "prevent", "block"]).optional(),
  limit: z.coerce.number().int().min(1).max(MAX_AUDIT_LIMIT).default(DEFAULT_AUDIT_LIMIT),
  after: z
    .string()
    .max(26)
    .optional()
    .describe("Pages forward: records behind this id, oldest first; empty: from the beginning"),
});

const incidentPath = z.object({ id: z.string().min(1).max(26) });
const evidencePath = z.object({
  which: z.string().min(1).max(253).describe("Its identifier, or a container's name or id: the latest of it"),
});
const incidentQuery = z.strictObject({
  all: z.enum(["true", "false"]).optional().describe("Closed ones too"),
});
const note = z.string().trim().min(1).max(1000);
const acknowledgeBody = z.strictObject({ note: note.optional() });
const closeBody = z.strictObject({ note });

export const ROUTES: readonly Route[] = [
  {
    method: "GET",
    path: "/api/v1/status",
    summary: "How the appliance is doing",
    response: schema.statusReport,
    handle: (dependencies) => dependencies.status(),
  },
  {
    method: "GET",
    path: "/api/v1/containers",
    summary: "Containers, and what governs each",
    response: z.array(schema.containerReport),
    handle: (dependencies) => dependencies.containers(),
  },
  {
    method: "GET",
    path: "/api/v1/models",
    summary: "Learned models",
    response: z.array(schema.modelReport),
    handle: (dependencies) => dependencies.models(),
  },
  {
    method: "GET",
    path: "/api/v1/models/:key",
    summary: "One model with all it holds",
    pathParameters: modelPath,
    response: schema.modelDetail,
    async handle(dependencies, input) {
      const { key } = modelPath.parse(input.path);
      const model = await dependencies.model(key);
      if (model !== null) return model;
      throw noModel(key);
    },
  },
  {
    method: "POST",
    path: "/api/v1/models/:key/change",
    summary: "Changes a model by an operator's hand",
    pathParameters: modelPath,
    body: schema.modelChange,
    response: schema.modelReport,
    async handle(dependencies, input) {
      const { key } = modelPath.parse(input.path);
      const model = await dependencies.changeModel(key, schema.modelChange.parse(input.body));
      if (model !== null) return model;
      throw noModel(key);
    },
  },
  {
    method: "GET",
    path: "/api/v1/models/:key/export",
    summary: "A model as a file",
    pathParameters: modelPath,
    response: schema.modelFile,
    async handle(dependencies, input) {
      const { key } = modelPath.parse(input.path);
      const file = await dependencies.exportModel(key);
      if (file !== null) return file;
      throw noModel(key);
    },
  },
  {
    method: "POST",
    path: "/api/v1/models/import",
    summary: "Puts a model from a file in the place of the one with its key, and locks it",
    body: schema.modelFile,
    takes: "model",
    response: schema.modelReport,
    handle: (dependencies, input) => dependencies.importModel(schema.modelFile.parse(input.body)),
  },
  {
    method: "GET",
    path: "/api/v1/audits",
    summary: "Audits in ascending order: the newest, or with `after` a page",
    query: auditQuery,
    response: z.array(schema.auditRecord),
    handle(dependencies, input) {
      const { since, until, container, attackType, effect, limit, after } = auditQuery.parse(input.query);
      const now = Date.now();
      return dependencies.audits({
        limit,
        ...(since === undefined ? {} : { since: parseMoment(since, now, "since") }),
        ...(until === undefined ? {} : { until: parseMoment(until, now, "until") }),
        ...(container === undefined ? {} : { container }),
        ...(attackType === undefined ? {} : { attackType }),
        ...(effect === undefined ? {} : { effect }),
        ...(after === undefined ? {} : { after }),
      });
    },
  },
  {
    method: "GET",
    path: "/api/v1/incidents",
    summary: "Incidents, the latest first",
    query: incidentQuery,
    response: z.array(schema.incidentSummary),
    handle: (dependencies, input) => dependencies.incidents(incidentQuery.parse(input.query).all === "true"),
  },
  {
    method: "GET",
    path: "/api/v1/incidents/:id",
    summary: "One incident with its evidence",
    pathParameters: incidentPath,
    response: schema.incident,
    handle: (dependencies, input) => dependencies.incident(incidentPath.parse(input.path).id),
  },
  {
    method: "POST",
    path: "/api/v1/incidents/:id/ack",
    summary: "Says that somebody has seen it; it stays open",
    pathParameters: incidentPath,
    body: acknowledgeBody,
    response: schema.incident,
    handle: (dependencies, input) =>
      dependencies.acknowledgeIncident(
        incidentPath.parse(input.path).id,
        acknowledgeBody.parse(input.body).note ?? null,
      ),
  },
  {
    method: "POST",
    path: "/api/v1/incidents/:id/close",
    summary: "Closes it with a note; it opens again when it comes again within a day",
    pathParameters: incidentPath,
    body: closeBody,
    response: schema.incident,
    handle: (dependencies, input) =>
      dependencies.closeIncident(incidentPath.parse(input.path).id, closeBody.parse(input.body).note),
  },
  {
    method: "GET",
    path: "/api/v1/evidence",
    summary: "Evidence taken at blocks, the latest first",
    response: z.array(schema.evidenceSummary),
    handle: (dependencies) => dependencies.evidenceList(),
  },
  {
    method: "GET",
    path: "/api/v1/evidence/:which",
    summary: "Processes, sockets and interfaces of a container when it was blocked, and what it did before",
    pathParameters: evidencePath,
    response: schema.evidence,
    handle: (dependencies, input) => dependencies.evidence(evidencePath.parse(input.path).which),
  },
  {
    method: "GET",
    path: "/api/v1/feeds",
    summary: "Intelligence feeds",
    response: z.array(schema.feedReport),
    handle: (dependencies) => dependencies.feeds(),
  },
  {
    method: "POST",
    path: "/api/v1/feeds/update",
    summary: "Fetches and reads all feeds and puts them in force",
    response: z.array(schema.feedReport),
    handle: (dependencies) => dependencies.updateFeeds(),
  },
  {
    method: "POST",
    path: "/api/v1/feeds/load",
    summary: "Puts in force what an update has left on the disk",
    response: z.array(schema.feedReport),
    handle: (dependencies) => dependencies.loadFeeds(),
  },
  {
    method: "GET",
    path: "/api/v1/policy",
    summary: "The policy in force",
    response: schema.policyReport,
    handle: (dependencies) => dependencies.policy(),
  },
  {
    method: "POST",
    path: "/api/v1/policy/reload",
    summary: "Reads the policy again; a bad one is refused and the running one stays",
    response: schema.reloadOutcome,
    handle: (dependencies) => dependencies.reload(),
  },
  {
    method: "POST",
    path: "/api/v1/policy/replay",
    summary: "What happened, judged again under another policy: what would go otherwise",
    body: replayBody,
    takes: "policy",
    response: schema.replayReport,
    handle(dependencies, input) {
      const { text, file, since } = replayBody.parse(input.body);
      return dependencies.replay({ text, file, since: parseMoment(since, Date.now(), "since") });
    },
  },
  {
    method: "GET",
    path: "/api/v1/why",
    summary: "What would be decided for a container and a target, and why",
    query: whyQuery,
    response: schema.whyReport,
    handle(dependencies, input) {
      const { container, target } = whyQuery.parse(input.query);
      return dependencies.why(container, parseTarget(target));
    },
  },
  {
    method: "GET",
    path: "/api/v1/exemptions",
    summary: "What containers may reach for a time, by an operator's hand",
    response: z.array(schema.exemption),
    handle: (dependencies) => dependencies.exemptions(),
  },
  {
    method: "POST",
    path: "/api/v1/exemptions",
    summary:
      "Lets a container reach a name or an address for a time, whatever its rule, the feeds or its model say",
    body: exemptBody,
    response: schema.givenExemption,
    handle(dependencies, input) {
      const { container, time, by = null, note = null, ...rest } = exemptBody.parse(input.body);
      return dependencies.exempt(container, { ...rest, time: time * 1000, by, note });
    },
  },
  {
    method: "POST",
    path: "/api/v1/exemptions/withdraw",
    summary: "Ends exemptions before their time",
    body: withdrawBody,
    response: z.array(schema.exemption),
    handle(dependencies, input) {
      const { container, target = null, by = null } = withdrawBody.parse(input.body);
      return dependencies.withdrawExemptions(container, target, by);
    },
  },
  {
    method: "POST",
    path: "/api/v1/unblock",
    summary: "Undoes the block of a container",
    body: unblockBody,
    response: schema.unblockOutcome,
    handle: (dependencies, input) => dependencies.unblock(unblockBody.parse(input.body).container),
  },
];
