/** The container engine of the sealed world: a dockerd of its own in the host namespace, one small image, containers. */
import { type ChildProcess, spawn } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { HOST, INTERNET, type Namespace } from "./network.ts";
import { type ExecuteOptions, ended, execute, type Output, startTime, until } from "./process.ts";

/** Images with the same content and different digests. */
export const IMAGES = ["lab/tools:1", "lab/tools:2"] as const;

export interface ContainerOptions {
  readonly image?: (typeof IMAGES)[number];
  /** `docker run` options, before the image. */
  readonly options?: readonly string[];
  /** Default: sleeps. */
  readonly command?: readonly string[];
}

/** A container of the lab, as `docker inspect` told when it started. */
export class LabContainer {
  readonly #engine: Engine;
  readonly id: string;
  readonly name: string;
  /** On its first network; empty when it has none. */
  readonly address: string;
  readonly address6: string;
  /** Pid of its first process as the host sees it. */
  readonly pid: number;
  constructor(engine: Engine, id: string, name: string, address: string, address6: string, pid: number) {
    this.#engine = engine;
    this.id = id;
    this.name = name;
    this.address = address;
    this.address6 = address6;
    this.pid = pid;
  }

  /** `docker exec`; any exit status resolves. */
  exec(command: readonly string[], options: ExecuteOptions = {}): Promise<Output> {
    return this.#engine.docker(["exec", this.name, ...command], { anyStatus: true, ...options });
  }

  /** `docker exec` of a program that goes on; the caller reads its output or ends it. */
  start(command: readonly string[]): ChildProcess {
    return spawn("docker", ["exec", this.name, ...command], {
      stdio: ["ignore", "pipe", "pipe"],
      env: this.#engine.environment,
    });
  }

  /** One field of `docker inspect`, as a Go template such as `{{.State.Status}}`. */
  async inspect(template: string): Promise<string> {
    return (await this.#engine.docker(["inspect", "-f", template, this.id])).stdout.trim();
  }

  async remove(): Promise<void> {
    await this.#engine.docker(["rm", "-f", this.id]);
  }

  /**
   * Answers of one lookup with `dig +short`, one a line; none within 8 seconds: empty. `args`: `@SERVER`, `+tcp`, a type,
   * `+time=1` where no answer is expected.
   */
  async lookup(name: string, ...args: string[]): Promise<string[]> {
    const output = await this.exec(["dig", "+short", "+tries=1", "+time=8", ...args, name]);
    return output.stdout.split("\n").filter((line) => line !== "" && !line.startsWith(";"));
  }

  /**
   * How a new TCP connection with an HTTP request went: `answered`, `silent` (nothing within `wait` milliseconds), or the
   * error's code such as `ECONNREFUSED`.
   */
  async fetch(address: string, port = 80, wait = 8000): Promise<string> {
    const program = ["node", "/programs/fetch.mts", address, String(port), String(wait)];
    return (await this.exec(program)).stdout.trim();
  }

  /** Whether a datagram to an echo server comes back. */
  async echoes(address: string, port = 7, wait = 8000): Promise<boolean> {
    const program = ["node", "/programs/once.mts", address, String(port), String(wait)];
    return (await this.exec(program)).status === 0;
  }
}

export class Engine {
  readonly #host: Namespace;
  readonly #directory: string;
  readonly #cgroup: string;
  #daemon: ChildProcess | undefined;

  /** `directory` takes all of its files; `cgroup` is the parent of its containers' control groups. */
  constructor(host: Namespace, directory: string, cgroup: string) {
    this.#host = host;
    this.#directory = directory;
    this.#cgroup = cgroup;
  }

  get socket(): string {
    return join(this.#directory, "docker.sock");
  }

  /** What makes a `docker` command talk to this engine and to no other. */
  get environment(): NodeJS.ProcessEnv {
    const { DOCKER_CONTEXT: _, ...rest } = process.env;
    return { ...rest, DOCKER_HOST: `unix://${this.socket}`, DOCKER_CONFIG: this.#directory };
  }

  docker(args: readonly string[], options: ExecuteOptions = {}): Promise<Output> {
    const env = { DOCKER_HOST: `unix://${this.socket}`, DOCKER_CONFIG: this.#directory, DOCKER_CONTEXT: "" };
    return execute("docker", args, { ...options, env: { ...options.env, ...env } });
  }

  /** Starts dockerd and waits until it answers. */
  async start(): Promise<void> {
    const configuration = {
      "data-root": join(this.#directory, "data"),
      "exec-root": join(this.#directory, "exec"),
      pidfile: join(this.#directory, "docker.pid"),
      hosts: [`unix://${this.socket}`],
      "exec-opts": ["native.cgroupdriver=cgroupfs"],
      "cgroup-parent": this.#cgroup,
      bip: `${HOST.bridgeAddress}/24`,
      ipv6: true,
      "fixed-cidr-v6": HOST.bridgeSubnet6,
      experimental: true,
      ip6tables: true,
      "live-restore": true,
      dns: [INTERNET.resolver],
    };
    const file = join(this.#directory, "daemon.json");
    writeFileSync(file, JSON.stringify(configuration, null, 2));
    const log = join(this.#directory, "dockerd.log");
    const daemon = this.#host.start("dockerd", ["--config-file", file], log);
    this.#daemon = daemon;
    await until("the lab's dockerd answers", async () => {
      if (daemon.exitCode !== null) throw new Error(`dockerd ended, see ${log}`);
      return this.docker(["version"]);
    });
  }

  /** Ends dockerd and starts it again; containers live on (live-restore). */
  async restart(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    if (this.#daemon === undefined) throw new Error("the lab's dockerd was not started by this process");
    this.#daemon.kill(signal);
    await ended(this.#daemon);
    // containerd dies with a killed dockerd. Where nobody reaps it, its pid goes on to exist, and the next dockerd would wait
    // for it to answer.
    const file = join(this.#directory, "exec/containerd/containerd.pid");
    if (existsSync(file)) {
      const pid = Number(readFileSync(file, "utf8"));
      await until("containerd has ended", () => startTime(pid) === null);
      rmSync(file, { force: true });
    }
    await this.start();
  }

  /**
   * Imports the images. They hold busybox; everything else comes from the machine's own /usr, mounted read-only at /tools when
   * a container starts, so that dig, hping3 and nmap cost no copy.
   */
  async importImages(): Promise<void> {
    const root = join(this.#directory, "root");
    for (const folder of [
      "bin",
      "dev",
      "etc",
      "proc",
      "root",
      "runtime",
      "sys",
      "tmp",
      "tools",
      "programs",
    ]) {
      mkdirSync(join(root, folder), { recursive: true });
    }
    const busybox = (await execute("sh", ["-c", "command -v busybox"])).stdout.trim();
    copyFileSync(busybox, join(root, "bin/busybox"));
    for (const applet of (await execute(busybox, ["--list"])).stdout.split("\n")) {
      if (applet !== "" && applet !== "busybox") symlinkSync("busybox", join(root, "bin", applet));
    }
    symlinkSync("tools", join(root, "usr"));
    for (const folder of ["lib", "lib64", "sbin"]) symlinkSync(`tools/${folder}`, join(root, folder));
    writeFileSync(join(root, "etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n");
    writeFileSync(join(root, "etc/group"), "root:x:0:\n");
    writeFileSync(join(root, "etc/nsswitch.conf"), "hosts: files dns\n");
    for (const file of ["services", "protocols"]) copyFileSync(`/etc/${file}`, join(root, "etc", file));
    const archive = join(this.#directory, "root.tar");
    await execute("tar", ["-C", root, "-cf", archive, "."]);
    for (const image of IMAGES) {
      // The label makes the digests differ.
      await this.docker(["import", "--change", `LABEL lab=${image}`, archive, image]);
    }
  }

  /** Makes the user-defined network, with IPv6. */
  async createNetwork(): Promise<void> {
    await this.docker([
      "network",
      "create",
      "--ipv6",
      "--subnet",
      HOST.networkSubnet,
      "--subnet",
      HOST.networkSubnet6,
      "-o",
      `com.docker.network.bridge.name=${HOST.networkBridge}`,
      HOST.network,
    ]);
  }

  /** `docker run -d`, and what it became. Replaces a container of the same name. */
  async run(name: string, options: ContainerOptions = {}): Promise<LabContainer> {
    await this.docker(["rm", "-f", name], { anyStatus: true });
    await this.docker([
      ...["run", "-d", "--name", name, "--hostname", name],
      ...["-v", "/usr:/tools:ro", "-v", "/etc/alternatives:/etc/alternatives:ro"],
      ...["-v", `${dirname(process.execPath)}:/runtime:ro`],
      ...["-v", `${new URL("programs", import.meta.url).pathname}:/programs:ro`],
      ...["-e", "PATH=/bin:/runtime:/tools/bin:/tools/sbin"],
      ...(options.options ?? []),
      options.image ?? IMAGES[0],
      ...(options.command ?? ["sleep", "100000"]),
    ]);
    return this.container(name);
  }

  /** What `docker inspect` says of a container now. */
  async container(name: string): Promise<LabContainer> {
    const network = "{{range .NetworkSettings.Networks}} {{.IPAddress}},{{.GlobalIPv6Address}}{{end}}";
    const format = `{{.Id}} {{.State.Pid}}${network}`;
    const [id = "", pid = "0", first = ","] = (await this.docker(["inspect", "-f", format, name])).stdout
      .trim()
      .split(" ");
    const [address = "", address6 = ""] = first.split(",");
    return new LabContainer(this, id, name, address, address6, Number(pid));
  }
}
