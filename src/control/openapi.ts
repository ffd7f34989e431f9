/** The description of the control API (OpenAPI 3.1), made from the routes themselves. */
import { z } from "zod";
import { ROUTES, type Route } from "./routes.ts";
import * as schema from "./schema.ts";

type Json = Readonly<Record<string, unknown>>;

export function openApiDocument(version: string): Json {
  const paths: Record<string, Record<string, Json>> = {};
  for (const route of ROUTES) {
    const path = route.path.replace(/:(\w+)/g, "{$1}");
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: operation(route) };
  }
  paths["/api/v1/events"] = {
    get: streamed("Audits and incidents as they come", "text/event-stream", EVENTS),
  };
  paths["/metrics"] = { get: streamed("Prometheus metrics", "text/plain", "Prometheus text format 0.0.4") };
  paths["/api/openapi.json"] = { get: streamed("This description", "application/json", "OpenAPI 3.1") };
  return {
    openapi: "3.1.0",
    info: {
      title: "Tidesman control API",
      version,
      license: { name: "Apache-2.0", identifier: "Apache-2.0" },
      description: "Served on the control socket; who may connect to the socket may use all of it.",
    },
    paths,
  };
}

const EVENTS =
  "Server-Sent Events. `audit`: a new record, `auditRepeated`: one told before whose count has risen (data: the record, " +
  "id: its id). `incident`: one that opened, for the first time or again, `incidentChanged`: one that has more evidence, or " +
  "was acknowledged or closed (data: what the list of incidents tells of it, id: its id). " +
  '`lost`: data `{"count": N}`, so many were left out because the client reads too slowly.';

function operation(route: Route): Json {
  return {
    summary: route.summary,
    parameters: [...parameters(route.pathParameters, "path"), ...parameters(route.query, "query")],
    ...(route.body === undefined ? {} : { requestBody: { required: true, content: json(route.body) } }),
    responses: {
      200: { description: "Done", content: json(route.response) },
      default: { description: "Failed", content: json(schema.failure) },
    },
  };
}

function streamed(summary: string, type: string, description: string): Json {
  return { summary, responses: { 200: { description, content: { [type]: { schema: {} } } } } };
}

function json(type: z.ZodType): Json {
  return { "application/json": { schema: jsonSchema(type) } };
}

function parameters(object: z.ZodObject | undefined, place: "path" | "query"): readonly Json[] {
  return Object.entries(object?.shape ?? {}).map(([name, type]) => {
    const shape = jsonSchema(type as z.ZodType);
    const required = place === "path" || !(type as z.ZodType).safeParse(undefined).success;
    return { name, in: place, required, schema: shape };
  });
}

function jsonSchema(type: z.ZodType): Json {
  const { $schema: _dialect, "~standard": _standard, ...rest } = z.toJSONSchema(type, { io: "input" });
  return rest;
}
