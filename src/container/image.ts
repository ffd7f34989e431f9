/** What an image is called and what names its content: the facts that scopes and models go by. */
import type { ImageDetail } from "./engine.ts";

export interface ImageFacts {
  /** Normalised: `docker.io/library/nginx:latest`. */
  readonly image: string;
  /** `sha256:…` */
  readonly imageDigest: string;
}

/**
 * `written`: the image as the container names it; `imageId` and `detail`: what the engine knows of it (`detail` null
 * when the image was deleted under a running container). The digest is the one that the registry gave, so that hosts
 * agree on it; an image built here has only its id.
 */
export function imageFacts(
  written: string,
  imageId: string,
  detail: ImageDetail | null,
  normalizeImage: (image: string) => string,
): ImageFacts {
  // A container made from an id (`docker run 1c969b95`) is called by the image's tag, where it has one.
  const byId = imageId !== "" && isPrefixOfId(written, imageId);
  const named = byId ? (detail?.tags[0] ?? detail?.digests[0] ?? "") : written;
  const image = named === "" ? written : normalizeImage(named);
  const pinned = /@(sha256:[0-9a-f]{64})$/.exec(written)?.[1];
  if (pinned !== undefined) return { image, imageDigest: pinned };
  const repository = repositoryOf(image);
  const digests = (detail?.digests ?? []).filter((digest) => digest.includes("@sha256:"));
  const own =
    digests.find((digest) => repositoryOf(normalizeImage(digest)) === repository) ?? [...digests].sort()[0];
  return { image, imageDigest: own === undefined ? imageId : own.slice(own.indexOf("@") + 1) };
}

function isPrefixOfId(written: string, imageId: string): boolean {
  const hex = written.startsWith("sha256:") ? written.slice(7) : written;
  return /^[0-9a-f]{4,64}$/.test(hex) && imageId.slice(imageId.indexOf(":") + 1).startsWith(hex);
}

/** Without tag and digest. */
function repositoryOf(image: string): string {
  const bare = image.split("@")[0]!;
  const colon = bare.lastIndexOf(":");
  return colon > bare.lastIndexOf("/") ? bare.slice(0, colon) : bare;
}
