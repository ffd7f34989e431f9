/**
 * One body from one URL: attempts, redirects, and what is refused while the bytes arrive. Nothing is kept here; the bytes
 * go, unpacked from their Content-Encoding, to a sink that is opened anew for each attempt.
 */
import { pipeline } from "node:stream/promises";
import { createBrotliDecompress, createGunzip, createZstdDecompress } from "node:zlib";
import type { Dispatcher } from "undici";
import type { Clock } from "../../clock.ts";
import { systemCode } from "../../errors.ts";
import { MAX_BODY, MAX_UNPACKED } from "../list/body.ts";
import type { Credentials } from "./credentials.ts";
import { FetchFailure, failureOf } from "./failure.ts";
import type { Lanes } from "./lanes.ts";
import type { Network } from "./network.ts";
import type { Depth } from "./reach.ts";

const MAX_REDIRECTS = 5;
const MAX_ATTEMPTS = 3;
/** Milliseconds before the second attempt; doubled for each further one, and spread by half up and down. */
const BACKOFF = 2000;
/** Milliseconds of a Retry-After that are waited within a run; a longer one ends it. */
const MAX_WAIT = 60_000;
/** Milliseconds without a header, or without a byte of the body, at most. */
const IDLE = 30_000;
/** Encodings on top of each other; servers use one. */
const MAX_ENCODINGS = 2;
/** Fewer, larger chunks than by default: each costs a write. */
export const DECODER = { chunkSize: 256 * 1024 };
/** Characters of a path in a message. */
const MAX_SHOWN = 200;
const REDIRECTS = new Set([301, 302, 303, 307, 308]);
const TRANSIENT = new Set([408, 425, 429]);

/** What a run of fetching shares. */
export interface Means {
  readonly clock: Clock;
  readonly random: () => number;
  readonly network: Network;
  readonly lanes: Lanes;
  /** Ends every transfer; its reason may be a `FetchFailure`. */
  readonly signal: AbortSignal;
  /** Value of the User-Agent header. */
  readonly agent: string;
}

export interface Resource {
  readonly url: URL;
  readonly credentials: Credentials;
  readonly ca: string | undefined;
  /** Sent to every origin. */
  readonly headers: Readonly<Record<string, string>>;
  /** Milliseconds for one attempt, waiting for its turn left out. */
  readonly timeout: number;
  /** Bytes as they are transferred, those of earlier parts of the list among them. */
  readonly maxSize: number;
  /** Bytes that earlier parts took; 0 where there is none. */
  readonly spent?: number;
  /** Bytes as they are unpacked; MAX_UNPACKED where there is none. */
  readonly maxUnpacked?: number;
  readonly onProgress?: (bytes: number, total: number | null) => void;
  /** Whether the answer may be 304. */
  readonly conditional: boolean;
}

export interface Answer {
  readonly status: 200 | 304;
  readonly headers: Headers;
  /** The last one, without what is secret. */
  readonly url: string;
  /** Bytes that were transferred. */
  readonly transferred: number;
}

/** Where a body goes. A new one is opened for each attempt that has a body; what an earlier one took is void then. */
export type OpenSink = () => (chunk: Uint8Array) => Promise<void> | void;

/** Fetches `resource`. Throws `FetchFailure`, without the secret, when no attempt succeeded. */
export async function transfer(resource: Resource, open: OpenSink, means: Means): Promise<Answer> {
  for (let attempt = 1; ; attempt++) {
    let failure: FetchFailure;
    try {
      return await follow(resource, open, means);
    } catch (error) {
      failure = redacted(failureOf(error, resource.url.host), resource.credentials);
    }
    const asked = failure.retryAfter ?? 0;
    if (!failure.transient || attempt === MAX_ATTEMPTS || asked > MAX_WAIT || means.signal.aborted) {
      throw failure;
    }
    const delay = BACKOFF * 2 ** (attempt - 1) * (0.5 + means.random());
    await wait(Math.max(delay, asked), means);
  }
}

function redacted(failure: FetchFailure, credentials: Credentials): FetchFailure {
  if (!credentials.knows(failure.message)) return failure;
  return new FetchFailure(credentials.redact(failure.message), failure);
}

async function wait(ms: number, { clock, signal }: Means): Promise<void> {
  await new Promise<void>((resolve) => {
    const timer = clock.after(ms, () => {
      signal.removeEventListener("abort", end);
      resolve();
    });
    const end = (): void => {
      timer.cancel();
      resolve();
    };
    signal.addEventListener("abort", end, { once: true });
  });
  if (signal.aborted) throw aborted(signal);
}

function aborted(signal: AbortSignal): FetchFailure {
  return signal.reason instanceof FetchFailure ? signal.reason : new FetchFailure("fetching was stopped");
}

/** One attempt, over its redirects. Credentials are sent until the origin changes, and never again after that. */
async function follow(resource: Resource, open: OpenSink, means: Means): Promise<Answer> {
  const { credentials } = resource;
  const budget = { left: resource.timeout };
  let url = new URL(resource.url);
  url.hash = "";
  let trusted = true;
  // The URL that the operator wrote may lead anywhere; where its server sends us, no further inside than it is itself.
  let reach: Depth | null = null;
  for (let hops = 0; hops <= MAX_REDIRECTS; hops++) {
    const from = url;
    const answer = await means.lanes.run(from.hostname, () =>
      exchange(from, { trusted, reach }, resource, open, budget, means),
    );
    if (!(answer instanceof URL)) {
      // The way there may have led over tokens of others, which stand behind the question mark.
      const last = new URL(from);
      if (hops > 0) last.search = "";
      last.username = last.password = "";
      return { ...answer, url: credentials.redact(last.href) };
    }
    if (from.protocol === "https:" && answer.protocol !== "https:") {
      throw new FetchFailure(`\`${from.host}\` redirects from https to http`);
    }
    if (answer.origin !== from.origin) trusted = false;
    reach = answer.origin === resource.url.origin ? null : means.network.depthOf(resource.url);
    const next = trusted ? answer : credentials.urlWithout(answer);
    if (next === null) {
      throw new FetchFailure(`\`${from.host}\` redirects to another origin with the secret in the URL`);
    }
    url = next;
  }
  throw new FetchFailure(`\`${resource.url.host}\` redirects more than ${MAX_REDIRECTS} times`);
}

/** One request and its answer; a redirect comes back as where it leads. */
async function exchange(
  url: URL,
  { trusted, reach }: { readonly trusted: boolean; readonly reach: Depth | null },
  resource: Resource,
  open: OpenSink,
  budget: { left: number },
  means: Means,
): Promise<Omit<Answer, "url"> | URL> {
  if (means.signal.aborted) throw aborted(means.signal);
  const { clock } = means;
  const late = new AbortController();
  const started = clock.monotonic();
  const timer = clock.after(Math.max(0, budget.left), () => late.abort());
  const signal = AbortSignal.any([late.signal, means.signal]);
  let response: Dispatcher.ResponseData | undefined;
  try {
    const full = trusted ? resource.credentials.urlWith(url) : url;
    response = await means.network.dispatcher(full, resource.ca, reach).request({
      origin: full.origin,
      path: `${full.pathname}${full.search}`,
      method: "GET",
      headers: {
        "user-agent": means.agent,
        "accept-encoding": "gzip, br, zstd",
        ...resource.headers,
        ...(trusted ? resource.credentials.headers() : {}),
      },
      signal,
      headersTimeout: Math.min(IDLE, resource.timeout),
      bodyTimeout: Math.min(IDLE, resource.timeout),
    });
    return await receive(response, url, resource, open, signal, means);
  } catch (error) {
    if (means.signal.aborted) throw aborted(means.signal);
    if (late.signal.aborted) {
      throw new FetchFailure(`\`${url.host}\` took more than ${resource.timeout / 1000} seconds`, {
        transient: true,
      });
    }
    throw failureOf(error, url.host);
  } finally {
    timer.cancel();
    budget.left -= clock.monotonic() - started;
    response?.body.on("error", () => {}).destroy();
  }
}

async function receive(
  response: Dispatcher.ResponseData,
  url: URL,
  resource: Resource,
  open: OpenSink,
  signal: AbortSignal,
  means: Means,
): Promise<Omit<Answer, "url"> | URL> {
  const headers = new Headers();
  for (const [name, value] of Object.entries(response.headers)) {
    for (const one of [value ?? ""].flat()) headers.append(name, one);
  }
  const status = response.statusCode;
  const location = headers.get("location");
  if (REDIRECTS.has(status) && location !== null) return target(location, url);
  if (status === 304 && resource.conditional) return { status, headers, transferred: 0 };
  if (status !== 200) {
    throw new FetchFailure(`\`${url.host}\` answered ${status} for \`${url.pathname.slice(0, MAX_SHOWN)}\``, {
      transient: TRANSIENT.has(status) || status >= 500,
      retryAfter: status === 429 || status === 503 ? retryAfterOf(headers, means.clock) : null,
      status,
    });
  }
  const transferred = await unwrap(response.body, headers, resource, open, signal);
  return { status, headers, transferred };
}

function target(location: string, from: URL): URL {
  if (!URL.canParse(location, from)) throw new FetchFailure(`\`${from.host}\` redirects to no URL`);
  const next = new URL(location, from);
  if (next.protocol !== "http:" && next.protocol !== "https:") {
    throw new FetchFailure(`\`${from.host}\` redirects to neither http nor https`);
  }
  next.username = next.password = next.hash = "";
  return next;
}

/** Milliseconds from now that Retry-After (RFC 9110, 10.2.3) asks for; null where there is none that can be read. */
function retryAfterOf(headers: Headers, clock: Clock): number | null {
  const text = headers.get("retry-after")?.trim() ?? "";
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1000;
  const date = Date.parse(text);
  return text === "" || Number.isNaN(date) ? null : Math.max(0, date - clock.now());
}

/** Hands the body, unpacked, to the sink; returns the bytes transferred. Every cap holds while they arrive. */
async function unwrap(
  body: AsyncIterable<Uint8Array>,
  headers: Headers,
  resource: Resource,
  open: OpenSink,
  signal: AbortSignal,
): Promise<number> {
  const maxSize = Math.min(resource.maxSize, MAX_BODY);
  const maxUnpacked = Math.min(resource.maxUnpacked ?? MAX_UNPACKED, MAX_BODY);
  const length = headers.get("content-length");
  const total = length === null || !/^\d+$/.test(length) ? null : Number(length);
  const spent = resource.spent ?? 0;
  if (total !== null && spent + total > maxSize) throw tooLong(maxSize);
  // Servers that compress say so of an empty body too.
  const decoders = total === 0 ? [] : encodingsOf(headers).map(decoderFor);
  let transferred = 0;
  let unpacked = 0;
  const write = open();
  const counted = async function* (): AsyncGenerator<Uint8Array> {
    for await (const chunk of body) {
      transferred += chunk.length;
      if (spent + transferred > maxSize) throw tooLong(maxSize);
      resource.onProgress?.(spent + transferred, spent === 0 ? total : null);
      yield chunk;
    }
    if (total !== null && transferred !== total) {
      throw new FetchFailure(`the body has ${transferred} bytes; ${total} were announced`, {
        transient: true,
      });
    }
  };
  const taken = async (chunks: AsyncIterable<Uint8Array>): Promise<void> => {
    for await (const chunk of chunks) {
      unpacked += chunk.length;
      if (unpacked > maxUnpacked)
        throw new FetchFailure(`the body unpacks to more than ${maxUnpacked} bytes`);
      await write(chunk);
    }
  };
  try {
    const [first, second] = decoders;
    if (first === undefined) await taken(counted());
    else if (second === undefined) await pipeline(counted, first, taken, { signal });
    else await pipeline(counted, first, second, taken, { signal });
  } catch (error) {
    throw damaged(error);
  }
  return transferred;
}

function tooLong(limit: number): FetchFailure {
  return new FetchFailure(`the body is longer than ${limit} bytes`);
}

/** Encodings in the order in which they are undone. */
function encodingsOf(headers: Headers): readonly string[] {
  const names = (headers.get("content-encoding") ?? "")
    .toLowerCase()
    .split(",")
    .map((name) => name.trim())
    .filter((name) => name !== "" && name !== "identity");
  if (names.length > MAX_ENCODINGS) {
    throw new FetchFailure(`the body has more than ${MAX_ENCODINGS} encodings on top of each other`);
  }
  return names.reverse();
}

function decoderFor(encoding: string): NodeJS.ReadWriteStream {
  switch (encoding) {
    case "gzip":
    case "x-gzip":
      return createGunzip(DECODER);
    case "br":
      return createBrotliDecompress(DECODER);
    case "zstd":
      return createZstdDecompress(DECODER);
    default:
      throw new FetchFailure(`the body has the unknown encoding \`${encoding.slice(0, 30)}\``);
  }
}

/** What a decoder says, in words; an early end may be another at the next attempt. */
export function damaged(error: unknown): unknown {
  const code = systemCode(error);
  if (!(error instanceof Error) || !/^(?:Z_|ERR_BROTLI|ERR__|ERR_ZLIB|ZSTD_|ERR_ZSTD)/.test(code))
    return error;
  return new FetchFailure(`the compressed body is cut short or damaged (${error.message})`, {
    transient: code === "Z_BUF_ERROR",
  });
}
