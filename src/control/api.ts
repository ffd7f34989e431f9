/** The control API as an HTTP application: routes, events, metrics, description, and failures in one shape. */
import fastify, { type FastifyInstance, type FastifyReply } from "fastify";
import { z } from "zod";
import type { Clock } from "../clock.ts";
import { TidesmanError } from "../errors.ts";
import { streamEvents } from "./events.ts";
import { failureOf, httpStatus } from "./failure.ts";
import { METRICS_TYPE, metricsText } from "./metrics.ts";
import { openApiDocument } from "./openapi.ts";
import { ROUTES } from "./routes.ts";
import type { ControlDependencies } from "./types.ts";

export interface ApiOptions {
  readonly dependencies: ControlDependencies;
  readonly version: string;
  readonly clock: Clock;
  /** Told of failures that are not an operator's mistake. */
  readonly onError: (error: unknown, request: string) => void;
}

/** Bytes of a request's body, files excepted; the largest is a container's name. */
const BODY_LIMIT = 64 * 1024;
/** Bytes of a policy as a JSON string. */
const POLICY_LIMIT = 4 * 1024 * 1024;
/** Connections at once: readers, followers, a console. */
const MAX_CONNECTIONS = 128;

export function buildApi(options: ApiOptions): FastifyInstance {
  const { dependencies, version, clock, onError } = options;
  const app = fastify({
    logger: false,
    bodyLimit: BODY_LIMIT,
    forceCloseConnections: true,
    // A path that cannot be decoded never reaches a route, nor its handler of errors.
    frameworkErrors: (error, _request, reply: FastifyReply) => {
      const failure = failureOf(new TidesmanError("TM_USAGE", error.message));
      return reply.code(httpStatus(failure.code)).send(failure);
    },
  });
  app.server.maxConnections = MAX_CONNECTIONS;

  for (const route of ROUTES) {
    app.route({
      method: route.method,
      url: route.path,
      bodyLimit:
        route.takes === "model"
          ? dependencies.maxModelFile
          : route.takes === "policy"
            ? POLICY_LIMIT
            : BODY_LIMIT,
      handler: (request) =>
        route.handle(dependencies, { path: request.params, query: request.query, body: request.body ?? {} }),
    });
  }
  app.get("/api/v1/events", (_request, reply) => {
    streamEvents(reply.raw, dependencies, clock, () => reply.hijack());
  });
  app.get("/metrics", async (_request, reply) => {
    const text = await metricsText(await dependencies.status());
    return reply.type(METRICS_TYPE).send(text);
  });
  const description = openApiDocument(version);
  app.get("/api/openapi.json", () => Promise.resolve(description));

  app.setNotFoundHandler((request, reply) => {
    const failure = { code: "TM_NOT_FOUND", message: `nothing at ${request.method} \`${request.url}\`` };
    return reply.code(404).send(failure);
  });
  app.setErrorHandler((error, request, reply) => {
    const told = asTold(error);
    const failure = failureOf(told);
    const status = httpStatus(failure.code);
    if (status === 500) onError(told, `${request.method} ${request.url}`);
    return reply.code(status).send(failure);
  });
  return app;
}

/** Input that does not fit, whether the schema or the HTTP library noticed, is the caller's usage. */
function asTold(error: unknown): unknown {
  if (error instanceof z.ZodError) {
    const problems = error.issues.map((issue) => {
      const where = issue.path.length === 0 ? "" : `\`${issue.path.join(".")}\`: `;
      return `${where}${issue.message}`;
    });
    return new TidesmanError("TM_USAGE", problems.join("; "), { cause: error });
  }
  if (error instanceof Error && "statusCode" in error && typeof error.statusCode === "number") {
    if (error.statusCode < 500) return new TidesmanError("TM_USAGE", error.message, { cause: error });
  }
  return error;
}
