/** Secrets of a feed: read when they are needed, sent to one origin only, and kept out of every message. */
import { systemCode } from "../../errors.ts";
import type { Authentication } from "../types.ts";
import { FetchFailure } from "./failure.ts";
import type { Environment } from "./proxy.ts";

/** What a header may carry (RFC 9110, 5.5), less what is not ASCII. */
const HEADER = /^[\t\x20-\x7e]+$/;
const HIDDEN = "***";

export class Credentials {
  readonly #authentication: Authentication | null;
  readonly #secret: string;
  /** Every form that the secret may come back in. */
  readonly #forms: readonly string[];

  /** Throws `FetchFailure` where the secret is missing; `readSecret` throws a system error where there is no such file. */
  constructor(
    authentication: Authentication | undefined,
    environment: Environment,
    readSecret: (file: string) => string,
  ) {
    this.#authentication = authentication ?? null;
    this.#secret = authentication ? read(authentication, environment, readSecret) : "";
    this.#forms = [
      ...new Set([
        this.#secret,
        encodeURIComponent(this.#secret),
        encodeURI(this.#secret),
        new URLSearchParams([["", this.#secret]]).toString().slice(1),
        JSON.stringify(this.#secret).slice(1, -1),
        Buffer.from(this.#secret).toString("base64"),
        authentication?.kind === "basic" ? this.#basic(authentication.user) : "",
      ]),
    ]
      .filter((form) => form !== "")
      .sort((a, b) => b.length - a.length);
  }

  #basic(user: string): string {
    return Buffer.from(`${user}:${this.#secret}`).toString("base64");
  }

  headers(): Readonly<Record<string, string>> {
    const authentication = this.#authentication;
    switch (authentication?.kind) {
      case "header":
        return { [authentication.name.toLowerCase()]: `${authentication.prefix}${this.#secret}` };
      case "basic":
        return { authorization: `Basic ${this.#basic(authentication.user)}` };
      default:
        return {};
    }
  }

  /** `url` as it is asked for. */
  urlWith(url: URL): URL {
    const full = new URL(url);
    if (this.#authentication?.kind === "query") {
      full.searchParams.set(this.#authentication.name, this.#secret);
    }
    return full;
  }

  /** `url` for another origin: parameters that carry the secret are left out. Null where it stands elsewhere in it. */
  urlWithout(url: URL): URL | null {
    const bare = new URL(url);
    for (const [name, value] of [...bare.searchParams]) {
      if (this.knows(value) || this.knows(name)) bare.searchParams.delete(name);
    }
    return this.knows(bare.href) || this.knows(decoded(bare.href)) ? null : bare;
  }

  knows(text: string): boolean {
    return this.#forms.some((form) => text.includes(form));
  }

  /** `text` without the secret. */
  redact(text: string): string {
    let clean = text;
    for (const form of this.#forms) clean = clean.replaceAll(form, HIDDEN);
    return clean;
  }
}

function read(
  authentication: Authentication,
  environment: Environment,
  readSecret: (file: string) => string,
): string {
  const { secret } = authentication;
  const place =
    "file" in secret ? `the file \`${secret.file}\`` : `the environment variable \`${secret.environment}\``;
  let text: string;
  if ("file" in secret) {
    try {
      text = readSecret(secret.file);
    } catch (error) {
      throw new FetchFailure(
        `its secret cannot be read from ${place} (${systemCode(error) || "unreadable"})`,
      );
    }
  } else {
    const value = environment[secret.environment];
    if (value === undefined) throw new FetchFailure(`its secret is missing: ${place} is not set`);
    text = value;
  }
  const value = text.replace(/(?:\r?\n)+$/, "");
  if (value === "") throw new FetchFailure(`its secret is missing: ${place} is empty`);
  if (authentication.kind === "header" && !HEADER.test(`${authentication.prefix}${value}`)) {
    throw new FetchFailure(`its secret in ${place} has characters that a header cannot carry`);
  }
  return value;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
