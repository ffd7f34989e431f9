/**
 * Client of the Docker Engine API over its unix socket. Reads and actions have connections of their own, so that an
 * inspect which dockerd holds back (it does while it starts a container) never delays a kill.
 */
import { Client, type Dispatcher, Pool } from "undici";
import { type Clock, systemClock } from "../clock.ts";
import { systemCode } from "../errors.ts";
import {
  type ContainerDetail,
  type ContainerSummary,
  type DockerApi,
  DockerError,
  decodeContainer,
  decodeContainers,
  decodeEvent,
  decodeImage,
  decodeNetwork,
  decodeNetworks,
  type EngineEvent,
  type ImageDetail,
  type NetworkDetail,
  type RestartPolicy,
} from "./engine.ts";

/** Newest API version whose answers this client was written for; an older engine is spoken to in its own. */
const NEWEST = "1.51";
/** Docker 20.10 and Podman 4 speak 1.41; Podman 3 says 1.40 and answers alike. */
const OLDEST = "1.40";

/** Largest answer and longest event taken, bytes; an inspect of a container with huge labels stays far below. */
const MAX_BODY = 64 << 20;
const MAX_EVENT = 4 << 20;

export interface DockerOptions {
  /** Path of the engine's unix socket. */
  readonly socket: string;
  readonly clock?: Clock;
  /** Deadline of a call that names none, milliseconds. */
  readonly timeout?: number;
}

interface Call {
  readonly method: "GET" | "POST";
  readonly path: string;
  readonly body?: unknown;
  readonly timeout?: number | undefined;
  /** Statuses that mean the wish is already fulfilled (304: already started). */
  readonly fulfilled?: readonly number[];
}

export class DockerClient implements DockerApi {
  readonly socket: string;
  readonly #clock: Clock;
  readonly #timeout: number;
  readonly #reads: Pool;
  readonly #actions: Pool;
  #version: Promise<string> | null = null;
  #engine: string | null = null;

  constructor(options: DockerOptions) {
    this.socket = options.socket;
    this.#clock = options.clock ?? systemClock;
    this.#timeout = options.timeout ?? 10_000;
    // Deadlines are set per call; undici's own would end the wait for a slow engine at a time of their choosing.
    const connections = { socketPath: options.socket, pipelining: 1, headersTimeout: 0, bodyTimeout: 0 };
    this.#reads = new Pool("http://docker", { ...connections, connections: 24 });
    this.#actions = new Pool("http://docker", { ...connections, connections: 16 });
  }

  async close(): Promise<void> {
    await Promise.all([this.#reads.destroy(), this.#actions.destroy()]);
  }

  /** API version spoken with this engine: the older of ours and its newest. Asked once, and again for each `events`. */
  version(): Promise<string> {
    this.#version ??= this.#negotiate().catch((error: unknown) => {
      this.#version = null;
      throw error;
    });
    return this.#version;
  }

  /** What the engine calls its own version (`20.10.24`); null before it was asked, or when it has none. */
  get engine(): string | null {
    return this.#engine;
  }

  async containers(id?: string): Promise<readonly ContainerSummary[]> {
    const filter = id === undefined ? "" : `&filters=${encodeURIComponent(JSON.stringify({ id: [id] }))}`;
    return decodeContainers(await this.#get(`/containers/json?all=1${filter}`));
  }

  async container(id: string, timeout?: number): Promise<ContainerDetail> {
    return decodeContainer(await this.#get(`/containers/${encodeURIComponent(id)}/json`, timeout));
  }

  async image(id: string): Promise<ImageDetail> {
    return decodeImage(await this.#get(`/images/${encodeURIComponent(id)}/json`));
  }

  async networks(): Promise<readonly NetworkDetail[]> {
    return decodeNetworks(await this.#get("/networks"));
  }

  async network(id: string): Promise<NetworkDetail> {
    return decodeNetwork(await this.#get(`/networks/${encodeURIComponent(id)}`));
  }

  async setRestartPolicy(id: string, policy: RestartPolicy, timeout?: number): Promise<void> {
    const body = {
      RestartPolicy: { Name: policy.name || "no", MaximumRetryCount: policy.maximumRetryCount },
    };
    await this.#post(id, "update", { body, timeout });
  }

  async kill(id: string, timeout?: number): Promise<void> {
    await this.#post(id, "kill?signal=SIGKILL", { timeout });
  }

  async pause(id: string, timeout?: number): Promise<void> {
    await this.#post(id, "pause", { timeout });
  }

  async unpause(id: string): Promise<void> {
    await this.#post(id, "unpause", {});
  }

  async start(id: string): Promise<void> {
    await this.#post(id, "start", { timeout: 60_000, fulfilled: [304] });
  }

  async events(since: string | null, signal: AbortSignal): Promise<AsyncIterable<EngineEvent>> {
    // The engine behind the socket may be another one than before.
    this.#version = null;
    const version = await this.version();
    const query = new URLSearchParams({ filters: JSON.stringify({ type: ["container", "network"] }) });
    if (since !== null) query.set("since", since);
    const client = new Client("http://docker", {
      socketPath: this.socket,
      headersTimeout: 0,
      bodyTimeout: 0,
    });
    // Only the wait for the answer's head has a deadline; the stream itself lasts.
    const opening = new AbortController();
    const deadline = this.#clock.after(this.#timeout, () => opening.abort());
    try {
      const response = await client.request({
        method: "GET",
        path: `/v${version}/events?${query}`,
        signal: AbortSignal.any([signal, opening.signal]),
      });
      if (response.statusCode !== 200) await this.#refuse("GET", "/events", response);
      return readEvents(client, response.body, (error) => this.#explain(error, "GET /events", false));
    } catch (error) {
      await client.destroy();
      throw this.#explain(error, "GET /events", opening.signal.aborted);
    } finally {
      deadline.cancel();
    }
  }

  async #negotiate(): Promise<string> {
    const answer = await this.#send(this.#reads, { method: "GET", path: "/version" });
    const {
      ApiVersion: newest,
      MinAPIVersion: oldest,
      Version: engine,
    } = (answer ?? {}) as Record<string, unknown>;
    this.#engine = typeof engine === "string" && engine !== "" ? engine : null;
    if (typeof newest !== "string" || !/^\d+\.\d+$/.test(newest)) {
      throw new DockerError(
        "TM_DOCKER",
        `what listens on \`${this.socket}\` does not speak the Docker Engine API; set \`docker.socket\` in tidesman.yaml`,
        0,
      );
    }
    if (compareVersions(newest, OLDEST) < 0) {
      throw new DockerError(
        "TM_DOCKER",
        `the docker engine speaks API ${newest}, older than ${OLDEST}; Docker 20.10 or newer is needed`,
        0,
      );
    }
    if (typeof oldest === "string" && compareVersions(oldest, NEWEST) > 0) {
      throw new DockerError(
        "TM_DOCKER",
        `the docker engine needs API ${oldest} or newer and this tidesman speaks ${NEWEST}; update tidesman`,
        0,
      );
    }
    return compareVersions(newest, NEWEST) < 0 ? newest : NEWEST;
  }

  async #get(path: string, timeout?: number): Promise<unknown> {
    const call = { method: "GET", path: `/v${await this.version()}${path}`, timeout } as const;
    try {
      return await this.#send(this.#reads, call);
    } catch (error) {
      // A kept connection that the engine closed at the same moment: nothing was wrong with the question.
      if (!(error instanceof DockerError) || systemCode(error.cause) !== "UND_ERR_SOCKET") throw error;
      return this.#send(this.#reads, call);
    }
  }

  async #post(id: string, action: string, call: Omit<Call, "method" | "path">): Promise<void> {
    const path = `/v${await this.version()}/containers/${encodeURIComponent(id)}/${action}`;
    await this.#send(this.#actions, { method: "POST", path, ...call });
  }

  /** One exchange; resolves with the decoded JSON body, or null where there is none. */
  async #send(pool: Pool, call: Call): Promise<unknown> {
    const expiry = new AbortController();
    const deadline = this.#clock.after(call.timeout ?? this.#timeout, () => expiry.abort());
    try {
      const response = await pool.request({
        method: call.method,
        path: call.path,
        signal: expiry.signal,
        ...(call.body === undefined
          ? {}
          : { headers: { "content-type": "application/json" }, body: JSON.stringify(call.body) }),
      });
      if (call.fulfilled?.includes(response.statusCode)) {
        await response.body.dump();
        return null;
      }
      if (response.statusCode >= 300) await this.#refuse(call.method, call.path, response);
      const body = await readBody(response.body);
      if (body === "") return null;
      try {
        return JSON.parse(body) as unknown;
      } catch (cause) {
        throw new DockerError(
          "TM_DOCKER",
          `the docker engine answered \`${call.path}\` with no JSON: \`${body.slice(0, 80)}\``,
          response.statusCode,
          { cause },
        );
      }
    } catch (error) {
      throw this.#explain(error, `${call.method} ${call.path}`, expiry.signal.aborted);
    } finally {
      deadline.cancel();
    }
  }

  async #refuse(method: string, path: string, response: Dispatcher.ResponseData): Promise<never> {
    const body = await readBody(response.body);
    let reason = body.slice(0, 200).trim();
    try {
      const parsed = JSON.parse(body) as { message?: unknown; cause?: unknown };
      if (typeof parsed.message === "string") reason = parsed.message;
    } catch {
      // Not every proxy in front of an engine answers in JSON; the text itself is the reason then.
    }
    throw new DockerError(
      response.statusCode === 403 ? "TM_DOCKER_NOT_PERMITTED" : "TM_DOCKER",
      `the docker engine answered ${response.statusCode} to \`${method} ${path}\`: ${reason || "no reason given"}`,
      response.statusCode,
    );
  }

  /** The error an operator can act on, for what a socket said. */
  #explain(cause: unknown, call: string, expired: boolean): DockerError {
    if (cause instanceof DockerError) return cause;
    const socket = `\`${this.socket}\``;
    const fail = (message: string): DockerError => new DockerError("TM_DOCKER", message, 0, { cause });
    switch (systemCode(cause)) {
      case "ENOENT":
        return fail(
          `the docker socket ${socket} is missing; start docker, or set \`docker.socket\` in tidesman.yaml`,
        );
      case "ECONNREFUSED":
        return fail(`nothing listens on the docker socket ${socket}; start docker`);
      case "ENOTSOCK":
        return fail(`${socket} is not a socket; set \`docker.socket\` in tidesman.yaml`);
      case "EACCES":
      case "EPERM":
        return new DockerError(
          "TM_DOCKER_NOT_PERMITTED",
          `not permitted to use the docker socket ${socket}; run tidesman as root or as a member of the socket's group`,
          0,
          { cause },
        );
    }
    if (expired) return fail(`the docker engine did not answer \`${call}\` in time`);
    return fail(
      `the connection to the docker engine on ${socket} broke: ${cause instanceof Error ? cause.message : String(cause)}`,
    );
  }
}

function compareVersions(a: string, b: string): number {
  const [majorA = 0, minorA = 0] = a.split(".").map(Number);
  const [majorB = 0, minorB = 0] = b.split(".").map(Number);
  return majorA - majorB || minorA - minorB;
}

async function readBody(body: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.length;
    if (size > MAX_BODY) throw new DockerError("TM_DOCKER", "the docker engine sent too long an answer", 0);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

/** Lines of the event stream as events. A last line without its end was cut off and is dropped. */
async function* readEvents(
  client: Client,
  body: AsyncIterable<Uint8Array>,
  explain: (error: unknown) => DockerError,
): AsyncGenerator<EngineEvent> {
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for await (const chunk of body) {
      rest += decoder.decode(chunk, { stream: true });
      let start = 0;
      for (let end = rest.indexOf("\n"); end >= 0; end = rest.indexOf("\n", start)) {
        const line = rest.slice(start, end).trim();
        start = end + 1;
        if (line !== "") yield decodeEvent(line);
      }
      rest = rest.slice(start);
      if (rest.length > MAX_EVENT)
        throw new DockerError("TM_DOCKER", "the docker engine sent too long an event", 0);
    }
  } catch (error) {
    throw explain(error);
  } finally {
    await client.destroy();
  }
}
