/** Which rule governs a container: scopes, wildcards and image names. */
import type { ScopeFile } from "./schema.ts";
import type { ContainerFacts } from "./types.ts";

/** Whether a container on a host is in a scope. */
export type ScopeTest = (container: ContainerFacts, host: string) => boolean;

/** Fields are ANDed. A scope without fields holds every container. */
export function compileScope(scope: ScopeFile | undefined): ScopeTest {
  const tests: ScopeTest[] = [];
  if (scope?.containers !== undefined) {
    const values = compileValues(scope.containers, fold);
    tests.push((container) => values((pattern) => matchesContainer(pattern, container)));
  }
  if (scope?.images !== undefined) {
    const values = compileValues(scope.images, imagePatterns);
    tests.push((container) => values(imageTest(container)));
  }
  for (const [key, value] of Object.entries(scope?.labels ?? {})) {
    const values = compileValues(typeof value === "string" ? [value] : value, fold);
    const folded = fold(key);
    tests.push((container) => {
      const labels = Object.entries(container.labels).filter(([label]) => fold(label) === folded);
      return values((pattern) => labels.some(([, text]) => glob(pattern, fold(text))));
    });
  }
  if (scope?.namespaces !== undefined) {
    const values = compileValues(scope.namespaces, fold);
    // Outside Kubernetes the namespace is the empty text: only `*` matches it.
    tests.push((container) => values((pattern) => glob(pattern, fold(container.namespace ?? ""))));
  }
  if (scope?.hosts !== undefined) {
    const values = compileValues(scope.hosts, fold);
    tests.push((_container, host) => values((pattern) => glob(pattern, fold(host))));
  }
  return (container, host) => tests.every((test) => test(container, host));
}

/** Whether a scope holds every container of every host. */
export function isCatchAll(scope: ScopeFile | undefined): boolean {
  if (scope === undefined) return true;
  if (Object.keys(scope.labels ?? {}).length > 0) return false;
  return [scope.containers, scope.images, scope.namespaces, scope.hosts].every(
    (values) =>
      values === undefined || (values.includes("*") && !values.some((value) => value.startsWith("-"))),
  );
}

/**
 * Values are ORed, after those with a leading `-` were tested: one of them that matches excludes. With nothing but
 * exclusions, everything else is in.
 */
function compileValues<Pattern>(
  values: readonly string[],
  prepare: (value: string) => Pattern,
): (matches: (pattern: Pattern) => boolean) => boolean {
  const excluded = values.filter((value) => value.startsWith("-")).map((value) => prepare(value.slice(1)));
  const included = values.filter((value) => !value.startsWith("-")).map((value) => prepare(value));
  return (matches) => {
    if (excluded.some(matches)) return false;
    return included.length === 0 || included.some(matches);
  };
}

function fold(text: string): string {
  return text.toLowerCase();
}

/** By name with wildcards; by id only when at least its short form (12 hexadecimal digits) is given. */
function matchesContainer(pattern: string, container: ContainerFacts): boolean {
  if (glob(pattern, fold(container.name))) return true;
  return /^[0-9a-f]{12,64}$/.test(pattern) && container.id.startsWith(pattern);
}

/** Whether `text` fits a pattern in which `*` stands for any characters, none included. Never more than |p| × |t| steps. */
export function glob(pattern: string, text: string): boolean {
  let p = 0;
  let t = 0;
  let star = -1;
  let resume = 0;
  while (t < text.length) {
    if (p < pattern.length && pattern[p] === "*") {
      star = p++;
      resume = t;
    } else if (p < pattern.length && pattern[p] === text[t]) {
      p++;
      t++;
    } else if (star >= 0) {
      p = star + 1;
      t = ++resume;
    } else return false;
  }
  while (pattern[p] === "*") p++;
  return p === pattern.length;
}

interface ImageName {
  /** `docker.io/library/nginx`. */
  readonly repository: string;
  /** `latest`; null when a digest stands alone, or no tag was written. */
  readonly tag: string | null;
  /** `sha256:…`, or null. */
  readonly digest: string | null;
}

function splitImage(reference: string): ImageName {
  const at = reference.indexOf("@");
  const digest = at < 0 ? null : reference.slice(at + 1);
  const name = at < 0 ? reference : reference.slice(0, at);
  const colon = name.lastIndexOf(":");
  // A colon before the last slash is a registry's port.
  const hasTag = colon > name.lastIndexOf("/");
  const path = hasTag ? name.slice(0, colon) : name;
  return { repository: qualify(path), tag: hasTag ? name.slice(colon + 1) : null, digest };
}

/** `nginx` → `docker.io/library/nginx`; a first part with a dot or a port, or `localhost`, is a registry. */
function qualify(path: string): string {
  const slash = path.indexOf("/");
  const first = slash < 0 ? "" : path.slice(0, slash);
  if (first === "index.docker.io" || first === "registry-1.docker.io") return qualify(path.slice(slash + 1));
  if (first === "docker.io") {
    const rest = path.slice(slash + 1);
    return rest.includes("/") ? path : `docker.io/library/${rest}`;
  }
  if (first.includes(".") || first.includes(":") || first === "localhost") return path;
  return slash < 0 ? `docker.io/library/${path}` : `docker.io/${path}`;
}

/**
 * Image name in full, as `ContainerFacts.image` holds it: `nginx` → `docker.io/library/nginx:latest`. A digest is kept
 * and then no tag is added; a bare image id (`sha256:…`) stays what it is.
 */
export function normalizeImage(reference: string): string {
  if (reference === "" || /^sha256:[0-9a-f]+$/i.test(reference)) return reference;
  const { repository, tag, digest } = splitImage(reference);
  if (digest === null) return `${repository}:${tag ?? "latest"}`;
  return tag === null ? `${repository}@${digest}` : `${repository}:${tag}@${digest}`;
}

/**
 * The full names that a pattern may stand for. A short one is a Docker Hub name, wildcards or not (`d*` is not every
 * image of docker.io). One whose first part could be a registry (a `/` behind a wildcard), or that starts with `*`, is taken as it
 * stands too.
 */
function imagePatterns(value: string): readonly string[] {
  const folded = fold(value);
  if (folded.startsWith("*") || folded.startsWith("sha256:")) return [folded];
  const { repository, tag, digest } = splitImage(folded);
  const full = `${repository}${tag === null ? "" : `:${tag}`}${digest === null ? "" : `@${digest}`}`;
  return folded.includes("*") && /[./]/.test(folded) && full !== folded ? [full, folded] : [full];
}

/** Whether one of a container's names for its image fits: with tag, without, by digest, by digest alone. */
function imageTest(container: ContainerFacts): (patterns: readonly string[]) => boolean {
  const image = fold(container.image);
  const id = image.startsWith("sha256:") ? image : "";
  const name = image === "" || id !== "" ? null : splitImage(image);
  const digests = [name?.digest ?? "", fold(container.imageDigest), id].filter((text) => text !== "");
  const forms: string[] = [];
  if (name !== null) {
    forms.push(name.repository);
    const tag = name.tag ?? (name.digest === null ? "latest" : null);
    if (tag !== null) forms.push(`${name.repository}:${tag}`);
    for (const form of [...forms]) for (const digest of digests) forms.push(`${form}@${digest}`);
  }
  const fits = (pattern: string): boolean => {
    if (pattern === "*") return true;
    return (pattern.startsWith("sha256:") ? digests : forms).some((form) => glob(pattern, form));
  };
  return (patterns) => patterns.some(fits);
}
