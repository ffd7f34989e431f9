/** Tidesman itself, started on the host of a sealed world and spoken to with its own command line. */
import type { ChildProcess } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { MAX_AUDIT_LIMIT } from "../../src/audit/filter.ts";
import type { AuditRecord } from "../../src/audit/record.ts";
import { ControlClient } from "../../src/control/client.ts";
import type { ContainerReport, ModelReport, StatusReport } from "../../src/control/types.ts";
import type { PolicyFile, RuleFile } from "../../src/policy/schema.ts";
import { INTERNET } from "./network.ts";
import { ended, type Output, until } from "./process.ts";
import type { World } from "./world.ts";

const MAIN = new URL("../../src/main.ts", import.meta.url).pathname;

/** A section of tidesman.yaml. */
export interface Settings {
  readonly [key: string]: Settings | string | number | boolean | readonly string[];
}

export interface ApplianceOptions {
  /** Over what the lab needs: its resolver as upstream, its dockerd. */
  readonly settings?: Settings;
  readonly rules: readonly RuleFile[];
  /** Names, everything below them included; default: evil.example. */
  readonly listedNames?: readonly string[];
  /** Addresses and prefixes; default: none. */
  readonly listedAddresses?: readonly string[];
}

/** The rule that a shipped policy ends in, silent about lookups. */
export const CATCH_ALL: RuleFile = {
  name: "Default - alert on suspicious runtime behavior",
  dns: { effect: "disable" },
  network: { effect: "alert" },
};

export class Appliance {
  readonly #world: World;
  readonly directory: string;
  /** The same that the command line uses, without a process for each question. */
  readonly #client: ControlClient;
  #child: ChildProcess | undefined;

  private constructor(world: World, directory: string) {
    this.#world = world;
    this.directory = directory;
    this.#client = new ControlClient(join(directory, "run"));
  }

  /** Writes the files; `name` is unique within the world. */
  static prepare(world: World, name: string, options: ApplianceOptions): Appliance {
    const directory = join(world.directory, name);
    mkdirSync(directory, { recursive: true });
    const appliance = new Appliance(world, directory);
    appliance.writeSettings(options.settings ?? {});
    appliance.writePolicy(options.rules);
    appliance.writeFeeds(options.listedNames ?? ["evil.example"], options.listedAddresses ?? []);
    return appliance;
  }

  /** Writes the files and starts the daemon; resolves when it answers. */
  static async start(world: World, name: string, options: ApplianceOptions): Promise<Appliance> {
    const appliance = Appliance.prepare(world, name, options);
    await appliance.start();
    return appliance;
  }

  writeSettings(settings: Settings): void {
    const all = merge(
      {
        host: "lab",
        dns: { upstreams: [INTERNET.resolver] },
        docker: { socket: this.#world.engine.socket },
      },
      settings,
    );
    // JSON is YAML.
    writeFileSync(join(this.directory, "tidesman.yaml"), JSON.stringify(all, null, 2));
  }

  writePolicy(rules: readonly RuleFile[]): void {
    const policy: PolicyFile = { version: 1, rules };
    writeFileSync(join(this.directory, "policy.yaml"), JSON.stringify(policy, null, 2));
  }

  writeFeeds(names: readonly string[], addresses: readonly string[]): void {
    writeFileSync(join(this.directory, "names.txt"), `${names.join("\n")}\n`);
    writeFileSync(join(this.directory, "addresses.txt"), `${addresses.join("\n")}\n`);
    const feeds = [
      { name: "lab-names", path: "names.txt", kind: "domain", match: "suffix" },
      { name: "lab-addresses", path: "addresses.txt", kind: "address" },
    ];
    writeFileSync(join(this.directory, "feeds.yaml"), JSON.stringify({ version: 1, feeds }, null, 2));
  }

  /** Starts the daemon (again) on the same files and state; resolves when it answers and Docker is in the state given. */
  async start(docker: StatusReport["docker"]["state"] = "connected"): Promise<void> {
    // At the priority that its systemd unit gives it.
    const command = ["-n", "-5", process.execPath, MAIN, "daemon", ...this.#places()];
    const child = this.#world.host.start("nice", command, this.log);
    this.#child = child;
    const outcome = await until(
      "the daemon answers",
      async () => {
        if (child.exitCode !== null || child.signalCode !== null) return "ended";
        return (await this.status()).docker.state === docker ? "up" : undefined;
      },
      60_000,
    ).catch((error: unknown) => String(error));
    if (outcome !== "up") throw new Error(`the daemon did not come up: ${outcome}\n${this.logText()}`);
  }

  /** Runs the daemon where it is expected to refuse; what it said and its exit status. */
  runToEnd(): Promise<Output> {
    return this.#world.host.run(process.execPath, [MAIN, "daemon", ...this.#places()], {
      anyStatus: true,
      timeout: 20_000,
    });
  }

  get pid(): number {
    const pid = this.#child?.pid;
    if (pid === undefined) throw new Error("the daemon was not started");
    return pid;
  }

  get log(): string {
    return join(this.directory, "daemon.log");
  }

  logText(): string {
    return readFileSync(this.log, "utf8");
  }

  /** Sends a signal; waits for the end when it is one that ends the daemon. */
  async signal(name: NodeJS.Signals): Promise<void> {
    process.kill(this.pid, name);
    if (["SIGTERM", "SIGKILL", "SIGINT"].includes(name) && this.#child !== undefined)
      await ended(this.#child);
  }

  /** Orderly end. */
  async stop(): Promise<void> {
    if (this.#child?.exitCode === null && this.#child.signalCode === null) await this.signal("SIGTERM");
  }

  /** `tidesman ARGS` on the host, with the places of this daemon; any exit status resolves. */
  cli(...args: string[]): Promise<Output> {
    return this.#world.host.run(process.execPath, [MAIN, ...args, ...this.#places()], {
      anyStatus: true,
      env: { NO_COLOR: "1" },
    });
  }

  status(): Promise<StatusReport> {
    return this.#client.status();
  }

  containers(): Promise<readonly ContainerReport[]> {
    return this.#client.containers();
  }

  models(): Promise<readonly ModelReport[]> {
    return this.#client.models();
  }

  /** All of them, oldest first. */
  async audits(): Promise<readonly AuditRecord[]> {
    const all: AuditRecord[] = [];
    for (;;) {
      const page = await this.#client.audits({ after: all.at(-1)?.id ?? "", limit: MAX_AUDIT_LIMIT });
      all.push(...page);
      if (page.length < MAX_AUDIT_LIMIT) return all;
    }
  }

  /** Waits for an audit that `matches`; what there is instead is part of the refusal. */
  async audit(what: string, matches: (audit: AuditRecord) => boolean, limit = 30_000): Promise<AuditRecord> {
    let seen: readonly AuditRecord[] = [];
    return until(
      `an audit: ${what}`,
      async () => {
        seen = await this.audits();
        return seen.find(matches);
      },
      limit,
    ).catch((error: unknown) => {
      const lines = seen.map(
        (audit) => `${audit.attackType} ${audit.container?.name ?? "-"}: ${audit.message}`,
      );
      throw new Error(`${String(error)}; there are\n${lines.join("\n")}`);
    });
  }

  /** Writes new rules and tells the daemon; resolves when they are in force. */
  async reload(rules: readonly RuleFile[]): Promise<void> {
    this.writePolicy(rules);
    await this.#client.reload();
  }

  #places(): string[] {
    const file = (name: string): string => join(this.directory, name);
    return [
      ...["--config", file("tidesman.yaml"), "--policy", file("policy.yaml"), "--feeds", file("feeds.yaml")],
      ...["--state", file("state"), "--runtime-dir", file("run")],
    ];
  }
}

function isSection(value: Settings[string] | undefined): value is Settings {
  return typeof value === "object" && !Array.isArray(value);
}

function merge(base: Settings, over: Settings): Settings {
  const merged: Record<string, Settings[string]> = { ...base };
  for (const [key, value] of Object.entries(over)) {
    const below = merged[key];
    merged[key] = isSection(below) && isSection(value) ? merge(below, value) : value;
  }
  return merged;
}
