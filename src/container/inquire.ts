/**
 * The three questions about one container, by what it is doing: an inspect while it runs, its networks while it is being
 * started (dockerd holds an inspect back then), a row of the list when it does neither. Each takes the answer into the
 * entry, unless something happened to the container meanwhile: then the answer may be older than that, and is dropped.
 */
import type { Catalogue } from "./catalogue.ts";
import type { ContainerDetail, ContainerSummary, DockerApi, ImageDetail } from "./engine.ts";
import type { Entry } from "./entry.ts";
import { imageFacts } from "./image.ts";
import type { Locator } from "./locate.ts";

export interface InquiryOptions {
  readonly docker: Pick<DockerApi, "containers" | "container">;
  readonly catalogue: Catalogue;
  readonly locator: Locator;
  readonly normalizeImage: (image: string) => string;
  /** Whether what was asked at `version` no longer counts. */
  readonly isStale: (entry: Entry, version: number) => boolean;
}

export class Inquiry {
  readonly #options: InquiryOptions;

  constructor(options: InquiryOptions) {
    this.#options = options;
  }

  /** The whole truth about a container that runs. False when it was dropped. */
  async inspect(entry: Entry): Promise<boolean> {
    const { docker, catalogue, locator } = this.#options;
    const { version } = entry;
    const detail = await docker.container(entry.id);
    const endpoints = detail.endpoints.filter(({ networkId }) => networkId !== "");
    const unknown = endpoints.filter(({ networkId }) => catalogue.network(networkId) === undefined);
    const [image] = await Promise.all([
      catalogue.image(detail.imageId),
      ...unknown.map(({ networkId }) => catalogue.ask(networkId)),
    ]);
    if (this.#options.isStale(entry, version)) return false;
    this.#setFacts(entry, detail, image);
    entry.everRan = true;
    if (!isRunning(detail)) {
      entry.end();
      return true;
    }
    if (entry.startedAt !== 0 && entry.startedAt !== detail.startedAt) entry.attachments.clear();
    entry.paused = detail.state === "paused";
    entry.pid = detail.pid;
    entry.startedAt = detail.startedAt;
    entry.joining.clear();
    for (const key of entry.attachments.keys()) {
      if (!key.startsWith("veth:") && !endpoints.some(({ networkId }) => networkId === key)) {
        entry.attachments.delete(key);
      }
    }
    for (const endpoint of endpoints) {
      entry.attach(endpoint, locator.bridgeOf(catalogue.network(endpoint.networkId)));
    }
    const process = detail.pid === 0 ? "" : `/proc/${detail.pid}/ns/net`;
    locator.settle(entry, [detail.sandboxKey, process]);
    locator.locate(entry);
    return true;
  }

  /** A container that is being started. `missing`: it is not yet, or no longer, in a network that it was to join. */
  async join(entry: Entry): Promise<"dropped" | "missing" | "complete"> {
    const { catalogue, locator } = this.#options;
    const { version } = entry;
    const asked = [...entry.joining];
    const [details] = await Promise.all([
      Promise.all(asked.map((id) => catalogue.ask(id))),
      entry.facts === null ? this.describe(entry) : undefined,
    ]);
    if (this.#options.isStale(entry, version)) return "dropped";
    let missing = entry.facts === null;
    for (const [index, id] of asked.entries()) {
      const endpoint = details[index]?.containers.get(entry.id);
      if (endpoint !== undefined) entry.attach(endpoint, locator.bridgeOf(catalogue.network(id)));
      else {
        entry.attachments.delete(id);
        missing = true;
      }
    }
    return missing ? "missing" : "complete";
  }

  /** The facts, from a row of the list. True when the row shows it running, though its `start` was not told. */
  async describe(entry: Entry): Promise<boolean> {
    const { version, summary } = entry;
    const rows = summary === null ? await this.#options.docker.containers(entry.id) : [summary];
    const row = rows.find(({ id }) => id === entry.id);
    if (row === undefined) return false;
    const image = await this.#options.catalogue.image(row.imageId);
    if (this.#options.isStale(entry, version)) return false;
    entry.summary = null;
    entry.doubted = false;
    if (row.state !== "created" && row.state !== "configured") entry.everRan = true;
    this.#setFacts(entry, row, image);
    if (isRunning(row)) entry.phase = "running";
    return isRunning(row);
  }

  #setFacts(entry: Entry, told: ContainerSummary | ContainerDetail, image: ImageDetail | null): void {
    entry.facts = {
      name: told.name,
      ...imageFacts(told.image, told.imageId, image, this.#options.normalizeImage),
      namespace: told.labels["io.kubernetes.pod.namespace"] ?? null,
      labels: told.labels,
      networkMode: told.networkMode,
    };
  }
}

export function isRunning({ state }: ContainerSummary): boolean {
  return state === "running" || state === "paused";
}

/** Whether the list shows a running container as it is known. */
export function isAsListed(entry: Entry, summary: ContainerSummary): boolean {
  return (
    entry.phase === "running" &&
    entry.startedAt !== 0 &&
    entry.paused === (summary.state === "paused") &&
    entry.facts?.name === summary.name &&
    summary.endpoints.every(({ addresses }) => addresses.every((address) => entry.isAssigned(address)))
  );
}
