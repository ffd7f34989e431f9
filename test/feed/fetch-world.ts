/** Servers on loopback that lists are fetched from, and what a run of fetching is started with. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createSecureServer } from "node:https";
import type { AddressInfo } from "node:net";
import { type Clock, systemClock } from "../../src/clock.ts";
import { type FetchOptions, type FetchOutcome, fetchLists } from "../../src/feed/fetch.ts";
import type { DeclaredFeed, RemoteList } from "../../src/feed/types.ts";

interface Test {
  teardown(end: () => unknown): void;
  testdir(): string;
}

export interface Origin {
  readonly port: number;
  /** `http://127.0.0.1:PORT`, or https. */
  readonly url: string;
  readonly requests: readonly IncomingMessage[];
  /** Requests that were answered at the same time, at most. */
  most(): number;
}

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

/** A server for the length of the test. */
export async function origin(
  t: Test,
  handler: Handler,
  tls?: { readonly key: Buffer; readonly cert: Buffer },
): Promise<Origin> {
  const requests: IncomingMessage[] = [];
  let now = 0;
  let most = 0;
  const listener: Handler = (request, response) => {
    requests.push(request);
    now += 1;
    most = Math.max(most, now);
    response.on("close", () => {
      now -= 1;
    });
    handler(request, response);
  };
  const server = tls ? createSecureServer(tls, listener) : createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { port, url: `${tls ? "https" : "http"}://127.0.0.1:${port}`, requests, most: () => most };
}

/** The time of the system, a hundred times as fast where something waits for it. */
export const hurried: Clock = {
  ...systemClock,
  after: (ms, callback) => systemClock.after(ms / 100, callback),
};

export function feed(
  folder: string,
  name: string,
  remote: Partial<RemoteList> & { url: string },
): DeclaredFeed {
  return {
    name,
    path: `${folder}/${name}`,
    kind: "domain",
    enabled: true,
    remote: { protocol: "http", timeout: 1_000_000, maxSize: 1_000_000, ...remote },
    interval: 3_600_000,
    allowEmpty: false,
    maxShrink: 0.5,
    quarantine: 0,
    hold: "never",
    allowPopular: false,
    allowInternal: false,
  };
}

export const OPTIONS: FetchOptions = {
  clock: hurried,
  random: Math.random,
  environment: {},
  servers: [],
  version: "1.2.3",
  readSecret: (file) => readFileSync(file, "utf8"),
};

export async function fetchOne(
  one: DeclaredFeed,
  options: Partial<FetchOptions> = {},
): Promise<FetchOutcome | undefined> {
  return (await fetchLists([one], { ...OPTIONS, ...options })).get(one.name);
}

/** Message of an outcome that has to be a failure; another outcome as text. */
export function failure(outcome: FetchOutcome | undefined): string {
  return outcome?.kind === "failed" ? outcome.message : `no failure: ${JSON.stringify(outcome)}`;
}

export interface Authority {
  readonly ca: string;
  readonly key: Buffer;
  readonly cert: Buffer;
}

/** A private authority and a certificate for 127.0.0.1 and lists.test, made by openssl; null where there is none. */
export function authority(folder: string): Authority | null {
  const openssl = (...words: string[]): void => {
    execFileSync("openssl", words, { cwd: folder, stdio: "pipe" });
  };
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  try {
    openssl("req", "-x509", ...key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Test", "-days", "2");
    openssl("req", ...key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=lists.test");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return null;
    throw error;
  }
  execFileSync("sh", ["-c", 'printf "subjectAltName=IP:127.0.0.1,DNS:lists.test" > names'], { cwd: folder });
  openssl(
    ...["x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"],
    ...["-out", "server.pem", "-days", "2", "-extfile", "names"],
  );
  return {
    ca: `${folder}/ca.pem`,
    key: readFileSync(`${folder}/server.key`),
    cert: readFileSync(`${folder}/server.pem`),
  };
}
