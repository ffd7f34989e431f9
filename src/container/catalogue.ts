/** What containers are made of and live in: the engine's images and networks, each asked for when it is first needed. */
import { type DockerApi, type ImageDetail, isGone, type NetworkDetail } from "./engine.ts";

/** Images remembered. */
const IMAGES = 1_000;

export class Catalogue {
  readonly #docker: Pick<DockerApi, "image" | "network">;
  readonly #onNetworks: () => void;
  readonly #images = new Map<string, Promise<ImageDetail | null>>();
  readonly #networks = new Map<string, NetworkDetail>();

  /** `onNetworks`: called when what is known of networks may have changed. */
  constructor(docker: Pick<DockerApi, "image" | "network">, onNetworks: () => void) {
    this.#docker = docker;
    this.#onNetworks = onNetworks;
  }

  /** Null when the image was deleted. What an image id stands for never changes, so each is asked for once. */
  image(id: string): Promise<ImageDetail | null> {
    if (id === "") return Promise.resolve(null);
    const known = this.#images.get(id);
    if (known !== undefined) return known;
    const asked = this.#docker.image(id).catch((error: unknown) => {
      this.#images.delete(id);
      if (isGone(error)) return null;
      throw error;
    });
    this.#images.set(id, asked);
    if (this.#images.size > IMAGES) this.#images.delete(this.#images.keys().next().value ?? "");
    return asked;
  }

  /** The networks that are known. */
  networks(): Iterable<NetworkDetail> {
    return this.#networks.values();
  }

  network(id: string): NetworkDetail | undefined {
    return this.#networks.get(id);
  }

  /** Asks for the network, with the containers that are in it now; null when it was removed. */
  async ask(id: string): Promise<NetworkDetail | null> {
    try {
      const detail = await this.#docker.network(id);
      this.#networks.set(id, detail);
      this.#onNetworks();
      return detail;
    } catch (error) {
      if (isGone(error)) return null;
      throw error;
    }
  }

  /** Takes the engine's list in place of what was known. */
  replace(networks: readonly NetworkDetail[]): void {
    this.#networks.clear();
    for (const network of networks) this.#networks.set(network.id, network);
    this.#onNetworks();
  }
}
