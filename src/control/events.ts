/** Audits and incidents as Server-Sent Events (WHATWG HTML, section 9.2), bounded per client. */
import type { ServerResponse } from "node:http";
import type { AuditRecord } from "../audit/record.ts";
import type { Clock } from "../clock.ts";
import type { ControlDependencies } from "./types.ts";

/** Milliseconds between comments that keep the connection alive and show when the client has gone. */
const HEARTBEAT = 15_000;
/** Bytes that may wait for a client that reads slowly; what does not fit is left out and counted to it. */
const BACKLOG = 4 << 20;

/**
 * Writes all of them to `response` until it is closed. The subscriptions hold once the headers are sent; `begin` is called when
 * they do, before the first byte. Throws what they throw, and then nothing was begun.
 */
export function streamEvents(
  response: ServerResponse,
  dependencies: Pick<ControlDependencies, "subscribe" | "subscribeIncidents">,
  clock: Clock,
  begin: () => void,
): void {
  let lost = 0;
  const send = (event: string, data: string, id?: string): void => {
    if (response.writableLength > BACKLOG) {
      lost++;
      return;
    }
    if (lost > 0) {
      response.write(`event: lost\ndata: {"count":${lost}}\n\n`);
      lost = 0;
    }
    response.write(`${id === undefined ? "" : `id: ${id}\n`}event: ${event}\ndata: ${data}\n\n`);
  };
  const leaveAudits = dependencies.subscribe((record: AuditRecord, isNew: boolean) =>
    send(isNew ? "audit" : "auditRepeated", JSON.stringify(record), record.id),
  );
  const leaveIncidents = dependencies.subscribeIncidents((incident, isNew) =>
    send(isNew ? "incident" : "incidentChanged", JSON.stringify(incident), incident.id),
  );
  begin();
  const heartbeat = clock.every(HEARTBEAT, () => {
    if (response.writableLength === 0) response.write(": still here\n\n");
  });
  response.on("close", () => {
    leaveAudits();
    leaveIncidents();
    heartbeat.cancel();
  });
  // The write fails when the client has gone; `close` follows and tidies up.
  response.on("error", () => undefined);
  response.writeHead(200, {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    connection: "keep-alive",
  });
  response.write(": audits and incidents\n\n");
}
