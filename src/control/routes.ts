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
  readonly body?: z.ZodObject;
  readonly response: z.ZodType;
  readonly handle: (dependencies: ControlDependencies, input: Input) => Promise<unknown>;
}

const modelPath = z.object({ key: z.string().min(1) });
const whyQuery = z.strictObject({
  container: z.string().min(1).describe("Name, id, or beginning of an id"),
  target: z.string().min(1).describe("A name, or ADDRESS[:PORT[/PROTOCOL]]"),
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
      throw new TidesmanError("TM_NOT_FOUND", `no model \`${key}\`; \`tidesman models\` lists them`);
    },
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
    method: "POST",
    path: "/api/v1/unblock",
    summary: "Undoes the block of a container",
    body: unblockBody,
    response: schema.unblockOutcome,
    handle: (dependencies, input) => dependencies.unblock(unblockBody.parse(input.body).container),
  },
];
