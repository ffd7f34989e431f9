/**
 * The control API on a TCP address, for consoles, scrapers and scripts that cannot reach the socket. Everything but
 * /metrics needs the token of `<state>/console.token` (`Authorization: Bearer TOKEN`, RFC 6750); metrics hold counts and
 * no names, and scrapers rarely carry tokens. The token is made at the first start and stays; removing the file makes a
 * new one at the next.
 */
import { randomBytes, timingSafeEqual } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Clock } from "../clock.ts";
import { systemCode, TidesmanError } from "../errors.ts";
import type { Log } from "../log.ts";
import { buildApi } from "./api.ts";
import type { ControlDependencies } from "./types.ts";
import { version } from "./version.ts";

export interface ConsoleOptions {
  readonly address: string;
  /** 0: no console. */
  readonly port: number;
  readonly stateDirectory: string;
  readonly dependencies: ControlDependencies;
  readonly clock: Clock;
  readonly log: Log;
}

export interface ConsoleServer {
  close(): Promise<void>;
}

/** Bytes of a token; as many characters and a third more in base64url. */
const TOKEN_BYTES = 32;
const OPEN_PATHS = new Set(["/metrics"]);

/** Null when it is turned off. Throws TM_PORT_IN_USE, TM_CONFIG for an address that is not this host's, TM_STORE. */
export async function openConsole(options: ConsoleOptions): Promise<ConsoleServer | null> {
  const { address, port, stateDirectory, dependencies, clock, log } = options;
  if (port === 0) return null;
  const token = Buffer.from(readToken(join(stateDirectory, "console.token")));
  const app = buildApi({
    dependencies,
    clock,
    version: version(),
    onError: (error, request) => log.error({ error, request }, "the console failed to answer"),
  });
  app.addHook("onRequest", async (request, reply) => {
    if (OPEN_PATHS.has(request.routeOptions.url ?? "")) return;
    const given = Buffer.from(/^Bearer (\S+)$/i.exec(request.headers.authorization ?? "")?.[1] ?? "");
    if (given.length === token.length && timingSafeEqual(given, token)) return;
    const message = "the console needs the token of `console.token` in the state folder as a bearer token";
    await reply.code(401).header("www-authenticate", "Bearer").send({ code: "TM_NOT_PERMITTED", message });
  });
  try {
    await app.listen({ host: address, port });
  } catch (error) {
    await app.close();
    throw explained(error, address, port);
  }
  return { close: () => app.close() };
}

function readToken(path: string): string {
  try {
    const token = readFileSync(path, "utf8").trim();
    if (token !== "") return token;
  } catch (error) {
    if (systemCode(error) !== "ENOENT") throw unusable(path, error);
  }
  const token = randomBytes(TOKEN_BYTES).toString("base64url");
  try {
    writeFileSync(path, `${token}\n`, { mode: 0o600 });
  } catch (error) {
    throw unusable(path, error);
  }
  return token;
}

function unusable(path: string, cause: unknown): TidesmanError {
  return new TidesmanError("TM_STORE", `\`${path}\` cannot be used: ${systemCode(cause)}`, { cause });
}

function explained(error: unknown, address: string, port: number): unknown {
  const code = systemCode(error);
  if (code === "EADDRINUSE") {
    return new TidesmanError(
      "TM_PORT_IN_USE",
      `TCP port ${port} on ${address} is in use: stop who has it, or set \`console.port\` (0 turns the console off)`,
    );
  }
  if (code === "EADDRNOTAVAIL") {
    return new TidesmanError("TM_CONFIG", `\`console.address\`: this host has no address ${address}`);
  }
  return error;
}
