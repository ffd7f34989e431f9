/** Real DNS tunnels through the sealed world: iodined and dns2tcpd as servers of domains of its Internet, and their clients. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Appliance } from "./appliance.ts";
import type { LabContainer } from "./engine.ts";
import { missingPrograms } from "./internet.ts";
import { DNS2TCP, INTERNET, IODINE } from "./network.ts";
import { until } from "./process.ts";
import type { World } from "./world.ts";

const PASSWORD = "tidesman";
const SINK = 9000;
const FIRST_PORT = 5400;
/** Milliseconds that a client is given to come up. */
const SETUP_LIMIT = 150_000;
/** Milliseconds between two looks. */
const STEP = 200;
const TRIES = 4;
/** Bytes below which a tunnel that stalled, and was not found until then, is tried again. */
const ENOUGH = 10_000;
/** Milliseconds after the first kilobyte within which a tunnel is to be found. */
const FIND_LIMIT = 60_000;
/** Milliseconds without a byte after which a tunnel is taken for dead. */
const DEAD = 6000;
/** What a client tries to send or fetch. */
const AMOUNT = 400_000;

/** What a tunnel encodes names with. */
export type Encoding = keyof typeof IODINE;

export interface Tunnel {
  readonly name: string;
  readonly direction: "up" | "down";
  readonly client: readonly string[];
  /** What the client says when it is ready; null: it says nothing, and is ready when it listens. */
  readonly ready: RegExp | null;
  /** Where its near end is. */
  readonly address: string;
}

export function iodine(
  name: string,
  encoding: Encoding,
  args: string,
  direction: Tunnel["direction"] = "up",
): Tunnel {
  const { domain, network } = IODINE[encoding];
  const client = ["iodine", "-f", "-P", PASSWORD, ...args.split(" "), INTERNET.resolver, domain];
  return {
    name: `iodine ${name}`,
    direction,
    client,
    ready: /Connection setup complete/,
    address: `${network}.1`,
  };
}

export function dns2tcp(name: string, args: string, direction: Tunnel["direction"] = "up"): Tunnel {
  const client = [
    "dns2tcpc",
    ...args.split(" "),
    "-k",
    PASSWORD,
    "-r",
    "sink",
    "-l",
    String(SINK),
    "-z",
    DNS2TCP.domain,
  ];
  return {
    name: `dns2tcp ${name}`,
    direction,
    client: [...client, INTERNET.resolver],
    ready: null,
    address: "127.0.0.1",
  };
}

/** Why no tunnel can be made here; null when one can. */
export async function tunnelRefusal(): Promise<string | null> {
  if (!existsSync("/dev/net/tun")) return "needs /dev/net/tun";
  const missing = await missingPrograms(["iodine", "iodined", "dns2tcpc", "dns2tcpd"]);
  return missing.length > 0 ? `needs ${missing.join(", ")} (scripts/setup installs them)` : null;
}

export interface Passage {
  /** Milliseconds since the epoch when the client was ready; null: it never was. */
  readonly ready: number | null;
  /** When it was told, and how many bytes had come out at the other end by then. */
  readonly found: number | null;
  readonly bytesUntilFound: number;
  /** When the first thousand bytes had come out. */
  readonly kilobyte: number | null;
  readonly bytes: number;
  /** What the client said. */
  readonly output: string;
}

/** A client that runs. */
class Client {
  readonly #container: LabContainer;
  readonly #ready: RegExp | null;
  output = "";
  ended = false;

  constructor(container: LabContainer, { client, ready }: Tunnel) {
    this.#container = container;
    this.#ready = ready;
    const child = container.start(client);
    for (const stream of [child.stdout, child.stderr])
      stream?.on("data", (data) => {
        this.output += String(data);
      });
    child.once("exit", () => {
      this.ended = true;
    });
  }

  async isReady(): Promise<boolean> {
    if (this.#ready !== null) return this.#ready.test(this.output);
    return (await this.#container.exec(["ss", "-Hlnt"])).stdout.includes(`:${SINK}`);
  }

  /** iodined has room for 16, and forgets who was not heard for a minute. */
  get isRefused(): boolean {
    return this.ended && this.output.includes("Server full");
  }
}

export class Tunnels {
  readonly #world: World;
  readonly #log: string;
  #count = 0;

  private constructor(world: World, log: string) {
    this.#world = world;
    this.#log = log;
  }

  static async start(world: World): Promise<Tunnels> {
    const { internet } = world;
    const directory = join(world.directory, "tunnel-servers");
    mkdirSync(directory);
    const log = (name: string): string => join(directory, `${name}.log`);
    const servers = Object.entries(IODINE);
    await internet.ip(
      [...servers.map(([, { address }]) => address), DNS2TCP.address]
        .map((address) => `addr add ${address}/32 dev lo`)
        .join("\n"),
    );
    for (const [index, [encoding, { domain, network }]] of servers.entries()) {
      const place = ["-l", "127.0.0.1", "-p", String(FIRST_PORT + index), "-d", `tun${index}`];
      internet.start(
        "iodined",
        ["-f", "-c", "-P", PASSWORD, ...place, `${network}.1/24`, domain],
        log(encoding),
      );
    }
    const program = (name: string): string => new URL(`programs/${name}.mts`, import.meta.url).pathname;
    const sieves = servers.map(([, { address, way }]) => `${address}=${way}`);
    internet.start(process.execPath, [program("sieve"), String(FIRST_PORT), ...sieves], log("sieve"));
    internet.start(process.execPath, [program("sink"), String(SINK)], log("sink"));
    const configuration = join(directory, "dns2tcpd.conf");
    writeFileSync(
      configuration,
      `listen = ${DNS2TCP.address}\nport = 53\nuser = nobody\nchroot = /tmp\nkey = ${PASSWORD}\n` +
        `domain = ${DNS2TCP.domain}\nresources = sink:127.0.0.1:${SINK}\n`,
    );
    internet.start("dns2tcpd", ["-F", "-f", configuration], log("dns2tcpd"));
    await until("the servers of the tunnels listen", async () => {
      const { stdout } = await internet.run("ss", ["-Hlnut"]);
      return [
        `:${SINK}`,
        `${DNS2TCP.address}:53`,
        ...servers.map((_, index) => `127.0.0.1:${FIRST_PORT + index}`),
      ].every((place) => stdout.includes(place));
    });
    return new Tunnels(world, log("sink"));
  }

  /**
   * Opens the tunnel in a new container whose name begins with `prefix`, and lets it carry what it can: until it was found
   * (`stops` false: that is all) and then nothing came any more for a while (`stops` true), or the time is over.
   */
  async run(tunnel: Tunnel, appliance: Appliance, prefix: string, stops: boolean): Promise<Passage> {
    for (let tries = 1; ; tries++) {
      const passage = await this.#try(tunnel, appliance, prefix, stops);
      // dns2tcp stalls now and then, also where nobody is in its way, and most of all when several begin at once.
      if (passage.found !== null || passage.bytes >= ENOUGH || tries === TRIES) return passage;
    }
  }

  async #try(tunnel: Tunnel, appliance: Appliance, prefix: string, stops: boolean): Promise<Passage> {
    const name = `${prefix}${++this.#count}`;
    const options = ["--device", "/dev/net/tun", "--cap-add", "NET_ADMIN"];
    const container = await this.#world.engine.run(name, { options });
    try {
      return await this.#carry(tunnel, appliance, container, stops);
    } finally {
      await container.remove();
    }
  }

  async #carry(
    tunnel: Tunnel,
    appliance: Appliance,
    container: LabContainer,
    stops: boolean,
  ): Promise<Passage> {
    const found = async (): Promise<number | null> => {
      const audits = await appliance.audits();
      const told = audits.find(
        ({ attackType, container: about }) =>
          attackType === "suspiciousDNS" && about?.name === container.name,
      );
      return told === undefined ? null : Date.parse(told.time);
    };
    let client = new Client(container, tunnel);
    const setup = performance.now();
    let ready: number | null = null;
    while (ready === null && performance.now() - setup < SETUP_LIMIT) {
      await delay(STEP);
      if (await client.isReady()) ready = Date.now();
      else if (client.isRefused) client = new Client(container, tunnel);
      else if (client.ended) break;
      else if (stops && performance.now() - setup > DEAD && (await found()) !== null) break;
    }
    let near = "";
    if (ready !== null) {
      const { address, direction } = tunnel;
      const args = [address, String(SINK), container.name, direction, String(AMOUNT)];
      const leak = container.start(["node", "/programs/leak.mts", ...args]);
      leak.stdout?.on("data", (data) => {
        near += String(data);
      });
    }
    const pieces = (): [number, number][] =>
      `${readFileSync(this.#log, "utf8")}${near}`
        .split("\n")
        .filter((line) => line.startsWith(`${container.name} `))
        .map((line) => [Number(line.split(" ")[1]), Number(line.split(" ")[2])]);
    let told: number | null = null;
    const began = Date.now();
    for (;;) {
      told ??= await found();
      const seen = pieces();
      const kilobyte = seen.find(([, bytes]) => bytes >= 1000)?.[0] ?? null;
      const last = Math.max(seen.at(-1)?.[0] ?? began, ready ?? began);
      const now = Date.now();
      // A client that nothing is heard of has given up.
      const over = ready === null || now - last > 2 * DEAD || now - (kilobyte ?? now) > FIND_LIMIT;
      if ((told !== null && (!stops || now - last > DEAD)) || over) {
        const bytesUntilFound = seen.findLast(([time]) => time <= (told ?? now))?.[1] ?? 0;
        return {
          ready,
          found: told,
          bytesUntilFound,
          kilobyte,
          bytes: seen.at(-1)?.[1] ?? 0,
          output: client.output,
        };
      }
      await delay(STEP);
    }
  }
}
