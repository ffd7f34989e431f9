/** Failures on the wire: a TidesmanError as HTTP status and `{code, message}`, and back. */
import { ERROR_CODES, type ErrorCode, TidesmanError } from "../errors.ts";

export interface Failure {
  readonly code: ErrorCode;
  readonly message: string;
}

/** Codes not named here are the daemon's own trouble: 500. */
const HTTP_STATUS: Partial<Record<ErrorCode, number>> = {
  TM_USAGE: 400,
  TM_NOT_PERMITTED: 403,
  TM_NOT_FOUND: 404,
  TM_CONFIG: 422,
  TM_CONFIG_MISSING: 422,
  TM_POLICY: 422,
  TM_POLICY_MISSING: 422,
  TM_FEED: 422,
  TM_FEED_BUSY: 409,
  TM_DOCKER: 502,
  TM_DOCKER_NOT_PERMITTED: 502,
  TM_STORE: 503,
  TM_UNREACHABLE: 503,
};

export function httpStatus(code: ErrorCode): number {
  return HTTP_STATUS[code] ?? 500;
}

/** What is told of any error; of one that is not ours only that it happened, the rest is in the log. */
export function failureOf(error: unknown): Failure {
  if (error instanceof TidesmanError) return { code: error.code, message: error.message };
  return { code: "TM_INTERNAL", message: "the daemon failed to answer; its log says why" };
}

/** The error that a response body tells of; one that is no failure of ours (another program's socket) is TM_INTERNAL. */
export function errorOf(status: number, body: string): TidesmanError {
  try {
    const { code, message } = JSON.parse(body) as Partial<Failure>;
    if (typeof code === "string" && code in ERROR_CODES && typeof message === "string") {
      return new TidesmanError(code, message);
    }
  } catch {
    // No JSON: told below.
  }
  return new TidesmanError("TM_INTERNAL", `the daemon answered with HTTP status ${status}; its log says why`);
}
