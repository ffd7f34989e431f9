/** What can go wrong between here and a list, in words for operators. */
import { systemCode } from "../../errors.ts";
import { FeedBodyError } from "../list/body.ts";

/** Why a list was not fetched; `message` is lower case and complete. */
export class FetchFailure extends Error {
  override readonly name = "FetchFailure";
  /** Whether another attempt may end better. */
  readonly transient: boolean;
  /** Milliseconds that the server asked to be left alone for; null where it did not. */
  readonly retryAfter: number | null;
  /** Status of the answer that was no list; null where that was not the reason. */
  readonly status: number | null;
  constructor(
    message: string,
    { transient = false, retryAfter = null, status = null }: Partial<Omit<FetchFailure, keyof Error>> = {},
  ) {
    super(message);
    this.transient = transient;
    this.retryAfter = retryAfter;
    this.status = status;
  }
}

/** Codes of errors after which the same attempt fails again: certificates that do not fit, TLS that is none. */
const TLS =
  /^(?:ERR_TLS_|ERR_SSL_|CERT_|CRL_|UNABLE_TO_|DEPTH_ZERO_|SELF_SIGNED_|HOSTNAME_MISMATCH|INVALID_CA)/;

const REASONS: Readonly<Record<string, string>> = {
  EAI_AGAIN: "its name could not be resolved",
  ECONNREFUSED: "the connection was refused",
  ECONNRESET: "the connection was cut before the end",
  EHOSTUNREACH: "the host cannot be reached",
  ENETUNREACH: "the network cannot be reached",
  ENODATA: "its name has no address",
  ENOTFOUND: "its name was not found",
  EPIPE: "the connection was cut before the end",
  ESERVFAIL: "its name could not be resolved",
  ETIMEOUT: "its name was not resolved in time",
  ETIMEDOUT: "no connection came about in time",
  UND_ERR_BODY_TIMEOUT: "the body came to a halt",
  UND_ERR_CONNECT_TIMEOUT: "no connection came about in time",
  UND_ERR_HEADERS_OVERFLOW: "the headers of the answer are too long",
  UND_ERR_HEADERS_TIMEOUT: "no answer came in time",
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: "the body has another length than was announced",
  UND_ERR_SOCKET: "the connection was cut before the end",
};

/** Any error of a transfer from `host`, as a failure of that list alone. */
export function failureOf(error: unknown, host: string): FetchFailure {
  if (error instanceof FetchFailure) return error;
  if (error instanceof FeedBodyError) return new FetchFailure(error.message);
  if (!(error instanceof Error)) return new FetchFailure(`\`${host}\`: ${String(error)}`);
  const inner = innermost(error);
  const code = systemCode(inner);
  if (TLS.test(code))
    return new FetchFailure(`\`${host}\` is not trusted: ${lower(inner.message)} (${code})`);
  // Undici tells an answer of the proxy to CONNECT in words only.
  const proxied = /Proxy response \((\d+)\)|\((407)\)/.exec(inner.message);
  if (proxied) {
    const status = Number(proxied[1] ?? proxied[2]);
    return new FetchFailure(`the proxy on the way to \`${host}\` answered ${status}`, {
      transient: status >= 500,
    });
  }
  if (inner.name === "HTTPParserError") {
    return new FetchFailure(`\`${host}\` does not speak HTTP: ${lower(inner.message)}`, { transient: true });
  }
  const reason = REASONS[code];
  if (reason !== undefined) return new FetchFailure(`\`${host}\`: ${reason} (${code})`, { transient: true });
  // As Node tells errors of files: `ENOSPC: no space left on device, write`.
  const [, onDisk] = /^E[A-Z\d]+: (.*)/s.exec(inner.message) ?? [];
  if (onDisk !== undefined) return new FetchFailure(`it could not be stored: ${onDisk} (${code})`);
  const suffix = code === "" ? "" : ` (${code})`;
  return new FetchFailure(`\`${host}\`: ${lower(inner.message)}${suffix}`, {
    transient: code.startsWith("UND_ERR_") && code !== "UND_ERR_INVALID_ARG",
  });
}

/** Undici and net wrap what happened: the cause, or the first of several attempts. */
function innermost(error: Error): Error {
  if (error instanceof AggregateError && error.errors[0] instanceof Error) return innermost(error.errors[0]);
  if (error.cause instanceof Error && systemCode(error.cause) !== "") return innermost(error.cause);
  return error;
}

function lower(text: string): string {
  return text.replace(/^[A-Z](?=[a-z ])/, (first) => first.toLowerCase()).replace(/\.$/, "");
}
