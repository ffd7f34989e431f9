/**
 * The daemon's log: one JSON object a line on standard output (systemd's journal keeps it as it is), or one readable
 * line on a terminal. Parts log through children (`log.child({ part: "dns" })`).
 */
import { writeSync } from "node:fs";
import { pino } from "pino";
import type { Config } from "./config.ts";
import { printable } from "./control/printable.ts";
import { systemCode } from "./errors.ts";

/** A pino logger: `log.info({ fields }, "message")`. */
export type Log = pino.Logger;

export interface LogOptions {
  readonly level: Config["log"]["level"];
  /** One readable line instead of JSON. */
  readonly readable: boolean;
  readonly colour: boolean;
  /** Takes whole lines, their end included; throws for one that it does not take. Default: standard output, at once. */
  readonly write?: (line: string) => void;
}

/**
 * A log that nobody takes, on a full disk or behind a reader that is gone, ends nothing: its lines are lost, and how many is
 * told when one is taken again.
 */
export function createLogger(options: LogOptions): Log {
  const write = options.write ?? writeOut;
  let lost = 0;
  let why = "";
  const take = (line: string): void => {
    try {
      write(line);
    } catch (error) {
      lost++;
      why = systemCode(error) ?? String(error);
      return;
    }
    if (lost === 0) return;
    const count = lost;
    lost = 0;
    log.warn(`lines of this log that could not be written, and are lost: ${count} (${why})`);
  };
  const settings: pino.LoggerOptions = {
    level: options.level,
    // A host runs one daemon; pid and host name are the journal's to know.
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
    serializers: { error: pino.stdSerializers.err },
    errorKey: "error",
  };
  const destination = options.readable
    ? { write: (line: string) => take(readableLine(line, options)) }
    : { write: take };
  const log = pino(settings, destination);
  return log;
}

/** By the descriptor: a stream would be closed for good by its first error. */
function writeOut(line: string): void {
  const bytes = Buffer.from(line);
  for (let at = 0; at < bytes.length; ) at += writeSync(1, bytes, at);
}

/** A child that says which part of the daemon speaks (`dns`, `packet`, `containers`). */
export function partLog(log: Log, part: string): Log {
  return log.child({ part });
}

/** Standard settings for the surroundings: JSON unless standard output is a terminal. */
export function systemLogger(level: LogOptions["level"]): Log {
  const terminal = process.stdout.isTTY === true;
  const colour = terminal && (process.env.NO_COLOR ?? "") === "";
  return createLogger({ level, readable: terminal, colour });
}

const COLOURS: Readonly<Record<string, string>> = {
  debug: "\u001b[2m",
  info: "\u001b[32m",
  warn: "\u001b[33m",
  error: "\u001b[31m",
  fatal: "\u001b[31m",
};

/** `02:33:39.497 warn  dns: upstream is slow  address=192.0.2.1` from a JSON line. */
function readableLine(line: string, options: LogOptions): string {
  const { level, time, part, msg, error, ...fields } = JSON.parse(line) as Record<string, unknown>;
  const label = String(level).padEnd(5);
  const colour = options.colour ? (COLOURS[String(level)] ?? "") : "";
  const rest = Object.entries(fields).map(
    ([key, value]) => `${key}=${typeof value === "string" ? value : JSON.stringify(value)}`,
  );
  const { message, stack } = (error ?? {}) as { message?: string; stack?: string };
  if (message !== undefined && message !== msg) rest.push(`error=${message}`);
  let text = `${part === undefined ? "" : `${String(part)}: `}${String(msg ?? "")}`;
  if (rest.length > 0) text += `  ${rest.join(" ")}`;
  // Lines of a message stay lines, further in than the time; everything else that controls a terminal does not.
  let body = text.split("\n").map(printable).join("\n    ");
  if (stack !== undefined && options.level === "debug")
    body += `\n${stack.split("\n").map(printable).join("\n")}`;
  const clock = String(time).slice(11, 23);
  return `${clock} ${colour}${label}${colour === "" ? "" : "\u001b[0m"} ${body}\n`;
}
