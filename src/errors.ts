/**
 * The error catalogue: every failure an operator can meet has a stable code, an exit status, and a message that says
 * what happened, where, and what to do. `docs/errors.md` lists them all; `test/repo.test.ts` keeps the two in step.
 */

/** Exit status of the command line (see the README). */
export const EXIT = { ok: 0, found: 1, usage: 2, unreachable: 3, notPermitted: 4 } as const;
export type ExitStatus = (typeof EXIT)[keyof typeof EXIT];

/** code -> exit status. The message is given where the error is made, since only there is the context known. */
export const ERROR_CODES = {
  TM_USAGE: EXIT.usage,
  TM_CONFIG: EXIT.usage,
  TM_CONFIG_MISSING: EXIT.usage,
  TM_POLICY: EXIT.usage,
  TM_POLICY_MISSING: EXIT.usage,
  TM_FEED: EXIT.usage,
  TM_FEED_BUSY: EXIT.found,
  TM_PORT_IN_USE: EXIT.usage,
  TM_NOT_PERMITTED: EXIT.notPermitted,
  TM_ALREADY_RUNNING: EXIT.usage,
  TM_NATIVE_MISSING: EXIT.usage,
  TM_NATIVE_QUEUE_TAKEN: EXIT.usage,
  TM_NATIVE_UNSUPPORTED: EXIT.usage,
  TM_NATIVE_IPSET: EXIT.usage,
  TM_NATIVE_SYSCALL: EXIT.usage,
  TM_RULESET: EXIT.usage,
  TM_RULESET_TOOL_MISSING: EXIT.usage,
  TM_DOCKER: EXIT.unreachable,
  TM_DOCKER_NOT_PERMITTED: EXIT.notPermitted,
  TM_STORE: EXIT.usage,
  TM_UNREACHABLE: EXIT.unreachable,
  TM_NOT_FOUND: EXIT.found,
  TM_INTERNAL: EXIT.found,
} as const satisfies Record<string, ExitStatus>;
export type ErrorCode = keyof typeof ERROR_CODES;

/** A place in a file, 1-based. */
export interface Place {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

export class TidesmanError extends Error {
  override readonly name = "TidesmanError";
  readonly code: ErrorCode;
  readonly exitStatus: ExitStatus;
  /** `message`: lower case, input in backticks, what to do at its end. */
  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.exitStatus = ERROR_CODES[code];
  }
}

/** The code of a Node system error (`ENOENT`), or an empty string. */
export function systemCode(error: unknown): string {
  if (error instanceof Error && "code" in error && typeof error.code === "string") return error.code;
  return "";
}
