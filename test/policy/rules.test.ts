import fc from "fast-check";
import t from "tap";
import { compileScope, glob, isCatchAll, normalizeImage } from "../../src/policy/rules.ts";
import type { ScopeFile } from "../../src/policy/schema.ts";
import type { ContainerFacts } from "../../src/policy/types.ts";

const DIGEST = `sha256:${"ab".repeat(32)}`;
const nginx: ContainerFacts = {
  id: "0123456789abcdef".repeat(4),
  name: "Web-1",
  image: "docker.io/library/nginx:1.27",
  imageDigest: DIGEST,
  namespace: null,
  labels: { Tier: "frontend", "com.docker.compose.project": "shop" },
};

function inScope(scope: ScopeFile, facts: Partial<ContainerFacts> = {}, host = "Edge-1"): boolean {
  return compileScope(scope)({ ...nginx, ...facts }, host);
}

t.test("images are matched with and without tag, by digest, in full and short", async (t) => {
  const cases: readonly [string, boolean][] = [
    ["nginx", true],
    ["NGINX", true],
    ["nginx:1.27", true],
    ["nginx:1.*", true],
    ["nginx:*", true],
    ["nginx:latest", false],
    ["nginx*", true],
    ["ngin", false],
    ["library/nginx", true],
    ["docker.io/nginx", true],
    ["docker.io/library/nginx", true],
    ["index.docker.io/library/nginx", true],
    ["docker.io/*", true],
    ["*/nginx", true],
    ["*nginx*", true],
    ["*", true],
    ["d*", false],
    ["s*", false],
    ["registry.example/nginx", false],
    ["other/nginx", false],
    [`nginx@${DIGEST}`, true],
    [`nginx:1.27@${DIGEST}`, true],
    [`nginx@sha256:${"00".repeat(32)}`, false],
    [DIGEST, true],
    ["sha256:abab*", true],
  ];
  for (const [image, expected] of cases) t.equal(inScope({ images: [image] }), expected, image);
});

t.test("images of other registries", async (t) => {
  const image = "registry.example:5000/team/pay:2";
  t.ok(inScope({ images: ["registry.example:5000/team/pay"] }, { image }));
  t.ok(inScope({ images: ["registry.example:5000/team/*"] }, { image }));
  t.ok(inScope({ images: ["registry*/team/pay"] }, { image }));
  t.ok(inScope({ images: ["registry.example*"] }, { image }));
  t.notOk(inScope({ images: ["team/pay"] }, { image }));
  t.ok(inScope({ images: ["localhost/x"] }, { image: "localhost/x:1" }));
  t.ok(inScope({ images: ["team*/web"] }, { image: "docker.io/teams/web:1" }));
});

t.test("an image that is known by its id or digest alone", async (t) => {
  t.ok(inScope({ images: ["*"] }, { image: "", imageDigest: "" }));
  t.notOk(inScope({ images: ["nginx"] }, { image: DIGEST, imageDigest: "" }));
  t.ok(inScope({ images: [DIGEST] }, { image: DIGEST, imageDigest: "" }));
  const image = `docker.io/library/nginx@${DIGEST}`;
  t.ok(inScope({ images: ["nginx"] }, { image, imageDigest: "" }));
  t.ok(inScope({ images: [`nginx@${DIGEST}`] }, { image, imageDigest: "" }));
  t.notOk(inScope({ images: ["nginx:latest"] }, { image, imageDigest: "" }), "a digest has no tag");
});

t.test("image names are normalised", async (t) => {
  const cases: readonly [string, string][] = [
    ["nginx", "docker.io/library/nginx:latest"],
    ["nginx:1", "docker.io/library/nginx:1"],
    ["team/web", "docker.io/team/web:latest"],
    ["docker.io/nginx", "docker.io/library/nginx:latest"],
    ["registry.example/web", "registry.example/web:latest"],
    ["localhost:5000/web", "localhost:5000/web:latest"],
    ["localhost/web:2", "localhost/web:2"],
    [`nginx@${DIGEST}`, `docker.io/library/nginx@${DIGEST}`],
    [`nginx:1@${DIGEST}`, `docker.io/library/nginx:1@${DIGEST}`],
    [DIGEST, DIGEST],
    ["", ""],
  ];
  for (const [reference, full] of cases) {
    t.equal(normalizeImage(reference), full, reference);
    t.equal(normalizeImage(full), full, `${full} stays`);
  }
});

t.test("fields are ANDed, values ORed, case ignored", async (t) => {
  t.ok(inScope({}));
  t.ok(inScope({ containers: ["db-*", "web-*"], images: ["nginx"], hosts: ["edge-*"] }));
  t.notOk(inScope({ containers: ["web-*"], images: ["redis"] }));
  t.notOk(inScope({ containers: ["web-*"], hosts: ["core-*"] }));
  t.ok(inScope({ hosts: ["EDGE-1"] }));
});

t.test("exclusions are tested first", async (t) => {
  t.notOk(inScope({ containers: ["web-*", "-web-1"] }));
  t.notOk(inScope({ containers: ["-web-1", "*"] }));
  t.ok(inScope({ containers: ["web-*", "-web-2"] }));
  t.ok(inScope({ containers: ["-db-*"] }), "with nothing but exclusions everything else is in");
  t.notOk(inScope({ images: ["-nginx"] }));
  t.ok(inScope({ images: ["-redis"] }));
  t.notOk(inScope({ images: ["*", "-nginx:1.*"] }));
});

t.test("labels", async (t) => {
  t.ok(inScope({ labels: { tier: "frontend" } }));
  t.ok(inScope({ labels: { tier: ["backend", "front*"] } }));
  t.notOk(inScope({ labels: { tier: "backend" } }));
  t.ok(inScope({ labels: { tier: "-backend" } }));
  t.notOk(inScope({ labels: { tier: "-front*" } }));
  t.notOk(inScope({ labels: { absent: "*" } }), "a label that is not there has no value");
  t.ok(inScope({ labels: { absent: "-x" } }), "and is excluded by none");
  t.ok(inScope({ labels: { tier: "frontend", "com.docker.compose.project": "shop" } }));
  t.notOk(inScope({ labels: { tier: "frontend", "com.docker.compose.project": "other" } }));
});

t.test("namespaces", async (t) => {
  t.ok(inScope({ namespaces: ["*"] }), "outside Kubernetes only * matches");
  t.notOk(inScope({ namespaces: ["default"] }));
  t.ok(inScope({ namespaces: ["kube-*", "-kube-system"] }, { namespace: "kube-public" }));
  t.notOk(inScope({ namespaces: ["kube-*", "-kube-system"] }, { namespace: "kube-system" }));
});

t.test("containers by id", async (t) => {
  t.ok(inScope({ containers: [nginx.id] }));
  t.ok(inScope({ containers: [nginx.id.slice(0, 12)] }));
  t.notOk(inScope({ containers: [nginx.id.slice(0, 11)] }), "shorter may be a name");
  t.notOk(inScope({ containers: ["0123456789ab*"] }), "wildcards are for names");
});

t.test("which scopes hold every container", async (t) => {
  t.ok(isCatchAll(undefined));
  t.ok(isCatchAll({}));
  t.ok(isCatchAll({ containers: ["*"], images: ["x", "*"] }));
  t.notOk(isCatchAll({ containers: ["*", "-x"] }));
  t.notOk(isCatchAll({ images: ["x"] }));
  t.notOk(isCatchAll({ labels: { a: "*" } }));
});

t.test("wildcards agree with their slow twin", async (t) => {
  const text = fc.string({ unit: fc.constantFrom("a", "b", "."), maxLength: 8 });
  const pattern = fc.string({ unit: fc.constantFrom("a", "b", ".", "*"), maxLength: 8 });
  fc.assert(
    fc.property(pattern, text, (p, s) => {
      const slow = new RegExp(`^${p.replaceAll(".", "\\.").replaceAll("*", ".*")}$`);
      return glob(p, s) === slow.test(s);
    }),
    { numRuns: 2000 },
  );
  t.notOk(glob(`${"a*".repeat(100)}b`, "a".repeat(2000)), "and a hostile pattern ends");
});
