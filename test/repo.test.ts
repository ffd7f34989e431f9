/**
 * The repository looks at itself: who imports whom, that what is written about exists and what exists is written about,
 * and that names and sizes keep to the rules of CONTRIBUTING.md.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import t from "tap";
import { execute } from "../scripts/world/process.ts";
import { loadConfig } from "../src/config.ts";
import { ERROR_CODES } from "../src/errors.ts";

const ROOT = new URL("..", import.meta.url).pathname;

function text(path: string): string {
  return readFileSync(join(ROOT, path), "utf8");
}

/** Files below a folder, as paths from the root. Nothing that a build or an installation made. */
function files(folder: string, ending: RegExp): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && ending.test(entry.name))
    .map((entry) => relative(ROOT, join(entry.parentPath, entry.name)))
    .sort();
}

interface Import {
  readonly from: string;
  /** Path from the root, or the package as it is written. */
  readonly to: string;
  readonly typeOnly: boolean;
}

/** Imports, re-exports, dynamic imports with a constant, and workers. */
function imports(path: string): Import[] {
  const found: Import[] = [];
  const add = (specifier: string, typeOnly: boolean): void => {
    const to = specifier.startsWith(".") ? join(dirname(path), specifier) : specifier;
    found.push({ from: path, to, typeOnly });
  };
  // Comments may show code.
  const source = text(path).replaceAll(/\/\*.*?\*\//gs, "");
  for (const [, type, names = "", specifier = ""] of source.matchAll(
    /^(?:import|export) (type )?((?:\w+, )?(?:\{[^}]*\}|\* as \w+|\*|\w+)) from "([^"]+)"/gm,
  )) {
    const listed = names.startsWith("{")
      ? names
          .slice(1, -1)
          .split(",")
          .map((name) => name.trim())
      : [];
    const named = listed.filter((name) => name !== "");
    add(
      specifier,
      type !== undefined || (named.length > 0 && named.every((name) => name.startsWith("type "))),
    );
  }
  for (const [, specifier = ""] of source.matchAll(/^import "([^"]+)"/gm)) add(specifier, false);
  for (const [, specifier = ""] of source.matchAll(/\bimport\("([^"]+)"\)/g)) add(specifier, false);
  for (const [, specifier = ""] of source.matchAll(/new URL\([^)]*"(\.[^"]+\.ts)"/g)) add(specifier, false);
  return found;
}

// ------------------------------------------------------------------------------------------------ the import table

/** Small helpers at the top of src that do no I/O of their own (a clock and a log are handed in where they are used). */
const PURE = [
  "address",
  "clock",
  "config",
  "document",
  "errors",
  "issues",
  "log",
  "name",
  "quantity",
  "record-type",
];

/**
 * A room's imports besides its own files and PURE: `values` at run time, `types` only as types. A folder stands for all
 * of its files. What is not listed is refused.
 */
const ROOMS: Readonly<
  Record<string, { readonly values: readonly string[]; readonly types: readonly string[] }>
> = {
  // Decisions: nothing that does I/O.
  policy: { values: [], types: [] },
  // The seam around the kernel: nothing of ours.
  native: { values: [], types: [] },
  container: { values: ["native", "policy", "whole-file.ts"], types: [] },
  // Two data paths under one policy, and never each other.
  dns: { values: ["container", "native", "policy"], types: [] },
  packet: { values: ["container", "native", "policy"], types: ["run.ts"] },
  model: { values: ["policy/types.ts"], types: [] },
  detect: { values: ["policy/types.ts"], types: [] },
  feed: { values: ["native", "policy/types.ts"], types: [] },
  audit: { values: ["policy/types.ts"], types: [] },
  // What happened, judged again.
  replay: { values: ["policy"], types: ["audit", "model"] },
  // Is handed everything it tells, so it knows only the shapes of it.
  control: {
    values: ["audit/filter.ts", "policy/domains.ts", "policy/types.ts"],
    types: ["audit", "container", "doctor", "feed", "model", "policy"],
  },
  // Looks at the host, and at what the daemon says of itself.
  doctor: {
    values: [
      "detect/sockets/trace-instance.ts",
      "dns/resolvconf.ts",
      "native/diagnosis.ts",
      "packet/installed.ts",
      "packet/kernel.ts",
      "packet/rules.ts",
      "run.ts",
    ],
    types: ["control"],
  },
  console: { values: ["control/client.ts"], types: ["control"] },
};

/** Packages that a room with no I/O may use; Node's own modules it may not. */
const PURE_PACKAGES = ["tldts", "yaml", "zod"];

/** The file that is the only wiring, and the one that may start it. */
const WIRING = "src/daemon.ts";
const ENTRANCE = "src/main.ts";

const sources = files("src", /\.ts$/);

/** `policy` for src/policy/rules.ts, null for a file at the top. */
function roomOf(path: string): string | null {
  return /^src\/([^/]+)\//.exec(path)?.[1] ?? null;
}

function allowed(path: string, list: readonly string[]): boolean {
  return list.some((entry) => path === `src/${entry}` || path.startsWith(`src/${entry}/`));
}

t.test("every room imports what the table gives it", async (t) => {
  const rooms = new Set(sources.map(roomOf).filter((room) => room !== null));
  for (const room of rooms) t.ok(ROOMS[room], `src/${room} stands in the table`);
  const refused = sources.flatMap((source) => {
    const room = roomOf(source);
    const table = room === null ? undefined : ROOMS[room];
    if (room === null || table === undefined) return [];
    return imports(source)
      .filter(({ to }) => to.startsWith("src/"))
      .filter(({ to, typeOnly }) => {
        if (roomOf(to) === room) return false;
        if (PURE.some((name) => to === `src/${name}.ts`)) return false;
        return !allowed(to, table.values) && !(typeOnly && allowed(to, table.types));
      })
      .map(({ to, typeOnly }) => `${source} imports ${typeOnly ? "types of " : ""}${to}`);
  });
  t.strictSame(refused, []);
});

t.test("policy does no I/O", async (t) => {
  const used = sources
    .filter((source) => roomOf(source) === "policy")
    .flatMap(imports)
    .filter(({ to }) => !to.startsWith("src/"))
    .filter(({ to }) => !PURE_PACKAGES.includes(to))
    .map(({ from, to }) => `${from} imports ${to}`);
  t.strictSame(used, []);
});

t.test("only the entrance starts the wiring", async (t) => {
  const users = sources
    .flatMap(imports)
    .filter(({ to, typeOnly }) => to === WIRING && !typeOnly)
    .map(({ from }) => from);
  t.strictSame(users, [ENTRANCE]);
});

t.test("the data thread touches no disk, no database and no runtime", async (t) => {
  const reached = new Set<string>();
  const packages = new Map<string, string>();
  const walk = (path: string): void => {
    if (reached.has(path)) return;
    reached.add(path);
    for (const { from, to, typeOnly } of imports(path)) {
      if (typeOnly) continue;
      if (to.startsWith("src/")) walk(to);
      else packages.set(to, from);
    }
  };
  walk("src/data-thread.ts");
  for (const banned of [
    "node:sqlite",
    "node:fs/promises",
    "node:child_process",
    "undici",
    "fastify",
    "pino",
  ]) {
    t.equal(packages.get(banned), undefined, banned);
  }
  t.notOk(reached.has("src/container/docker.ts"));
  t.notOk([...reached].some((path) => path.startsWith("src/audit/")));
});

t.test("no file imports itself around a corner", async (t) => {
  const graph = new Map<string, string[]>();
  for (const source of sources) {
    const next = imports(source).filter(
      ({ to, typeOnly }) => !typeOnly && to.startsWith("src/") && to.endsWith(".ts"),
    );
    graph.set(
      source,
      next.map(({ to }) => to),
    );
  }
  const done = new Set<string>();
  const circles: string[] = [];
  const visit = (path: string, way: readonly string[]): void => {
    const seen = way.indexOf(path);
    if (seen >= 0) circles.push([...way.slice(seen), path].join(" -> "));
    if (seen >= 0 || done.has(path)) return;
    for (const next of graph.get(path) ?? []) visit(next, [...way, path]);
    done.add(path);
  };
  for (const source of sources) visit(source, []);
  t.strictSame(circles, []);
});

// ------------------------------------------------------------------------------------------------ names, sizes, types

t.test("names say what a thing is", async (t) => {
  const silent = /(^|\/)(utils?|helpers?|managers?|services?|commons?|misc|shared|lib)(\.|\/|$)/i;
  const paths = ["src", "scripts", "test"].flatMap((folder) => files(folder, /\.(ts|mts|cc|h)$/));
  t.strictSame(
    paths.filter((path) => silent.test(path)),
    [],
  );
  const barrels = sources.filter((source) => {
    const statements = text(source)
      .replaceAll(/\/\*.*?\*\/|\/\/[^\n]*/gs, "")
      .split(";")
      .filter((statement) => statement.trim() !== "");
    return (
      statements.length > 0 && statements.every((statement) => /^\s*export\s.*\sfrom\s/s.test(statement))
    );
  });
  t.strictSame(barrels, [], "no file only hands on what others export");
});

t.test("a file of more than 400 lines says why", async (t) => {
  const long = [...sources, ...files("src", /\.(cc|h)$/)].filter(
    (source) => text(source).split("\n").length > 401,
  );
  // A comment such as: `Length: one state machine, whose order would be lost between two files.`
  const silent = long.filter((source) => !/^(?: \*|\/\/) Length: \S.{20,}/m.test(text(source)));
  t.strictSame(silent, []);
});

t.test("types and checks are not switched off", async (t) => {
  const off = /:\s*any\b|\bas any\b|<any\b|\bany\[\]|@ts-(ignore|nocheck|expect-error)|eslint-disable/;
  const paths = ["src", "scripts", "test"].flatMap((folder) => files(folder, /\.m?ts$/));
  const found = paths
    .filter((path) => path !== "test/repo.test.ts")
    .flatMap((path) =>
      text(path)
        .split("\n")
        .filter((line) => !/^\s*(\/\/|\*|\/\*)/.test(line) && off.test(line))
        .map((line) => `${path}: ${line.trim()}`),
    );
  t.strictSame(found, []);
});

t.test("nothing is left for later", async (t) => {
  const later = /\b(TODO|FIXME|XXX|HACK)\b|not implemented/;
  const paths = ["src", "scripts"].flatMap((folder) => files(folder, /\.(m?ts|cc|h)$/));
  t.strictSame(
    paths.filter((path) => later.test(text(path))),
    [],
  );
});

// ------------------------------------------------------------------------------------------------ what is written about

t.test("every error code is documented, and no other", async (t) => {
  const documented = new Set(text("docs/errors.md").match(/\bTM_[A-Z_]+\b/g) ?? []);
  t.strictSame([...documented].sort(), Object.keys(ERROR_CODES).sort());
});

t.test("every configuration key is documented", async (t) => {
  const page = text("docs/configuration.md");
  const keys: string[] = [];
  const collect = (value: unknown, path: string): void => {
    if (typeof value === "object" && value !== null && !Array.isArray(value)) {
      for (const [key, below] of Object.entries(value)) collect(below, path === "" ? key : `${path}.${key}`);
    } else keys.push(path);
  };
  collect(loadConfig(null, "tidesman.yaml", "host"), "");
  t.ok(keys.length > 30);
  t.strictSame(
    keys.filter((key) => !page.includes(`\`${key}\``)),
    [],
  );
});

t.test("every command that the documentation names exists", async (t) => {
  const pages = ["README.md", "CONTRIBUTING.md", ...files("docs", /\.md$/)];
  const commands = new Set<string>();
  const missing: string[] = [];
  const manifest: { readonly scripts: Record<string, string> } = JSON.parse(text("package.json"));
  for (const page of pages) {
    // Code only: blocks and spans.
    for (const [code] of text(page).matchAll(/^```.*?^```|`[^`\n]+`/gms)) {
      for (const [, words = ""] of code.matchAll(/\btidesman ((?:[a-z][a-z-]+ ?){1,2})/g))
        commands.add(words.trim());
      for (const [, run, name = ""] of code.matchAll(/\bnpm (run )?([a-z][a-z:-]*)/g)) {
        if (run === undefined && !["start", "test"].includes(name)) continue;
        if (manifest.scripts[name] === undefined) missing.push(`${page}: npm run ${name}`);
      }
      for (const [, path = ""] of code.matchAll(/(?:^|[\s`(])((?:scripts|\.ci)\/[\w./-]*\w)/gm)) {
        if (!existsSync(join(ROOT, path))) missing.push(`${page}: ${path}`);
      }
    }
  }
  t.strictSame(missing, []);
  t.ok(commands.size >= 8, [...commands].join(", "));
  const help = async (words: readonly string[]): Promise<string> =>
    (await execute(process.execPath, [join(ROOT, ENTRANCE), ...words, "--help"], { anyStatus: true })).stdout;
  const known = await help([]);
  for (const command of commands) {
    const [first = "", second] = command.split(" ");
    if (!new RegExp(`^  ${first}\\b`, "m").test(known)) missing.push(`tidesman ${first}`);
    if (second === undefined || first === "help") continue;
    const usage = await help([first]);
    // The second word is a subcommand where there are such, else an argument.
    const hasSubcommands = /^Commands:$/m.test(usage);
    if (hasSubcommands && !new RegExp(`^  ${second}\\b`, "m").test(usage)) {
      missing.push(`tidesman ${command}`);
    }
  }
  t.strictSame(missing, []);
});

t.test("links between pages lead somewhere", async (t) => {
  const pages = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", ...files("docs", /\.md$/)];
  const broken = pages.flatMap((page) =>
    [...text(page).matchAll(/\]\((?!https?:|#|mailto:)([^)#]+)(?:#[^)]*)?\)/g)]
      .map(([, target = ""]) => join(dirname(page), target))
      .filter((target) => !existsSync(join(ROOT, target)))
      .map((target) => `${page} -> ${target}`),
  );
  t.strictSame(broken, []);
});

t.test("every dependency is used and has its reason", async (t) => {
  const manifest: Record<
    "dependencies" | "devDependencies" | "optionalDependencies",
    Record<string, string>
  > = JSON.parse(text("package.json"));
  const page = text("docs/dependencies.md");
  const all = Object.keys({
    ...manifest.dependencies,
    ...manifest.devDependencies,
    ...manifest.optionalDependencies,
  });
  t.strictSame(
    all.filter((name) => !page.includes(`\`${name}\``)),
    [],
    "each has its line in docs/dependencies.md",
  );
  const used = new Set(
    sources
      .flatMap(imports)
      .map(({ to }) => to)
      .filter((to) => !to.startsWith("src/") && !to.startsWith("node:"))
      .map((to) => /^(?:@[^/]+\/)?[^/]+/.exec(to)?.[0] ?? to),
  );
  t.strictSame(
    [...used].sort(),
    Object.keys(manifest.dependencies).sort(),
    "the product imports what it depends on",
  );
});
