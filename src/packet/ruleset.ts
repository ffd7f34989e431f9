/**
 * The rules that bring new connections and lookups of containers to us: how the kernel is told, kept told, and left as
 * it was found.
 *
 * ## A packet's way
 *
 * Guarded interfaces jump from `PREROUTING` of the mangle table to `TM-PRE`. There, before any NAT has changed the
 * destination:
 *
 * 1. A container that is cut off (`cut` set) is dropped, but for a bare TCP reset of an allowed flow, so that its peers
 *    learn that it is over.
 * 2. A packet that comes back from the queue has the decision in two bits of its mark. They are saved to the connection,
 *    cleared from the packet so that nobody's policy routing sees them, and the packet goes on or is dropped. This is why
 *    the verdict is NF_REPEAT: after NF_ACCEPT no later rule of the chain would run.
 * 3. A flow that was decided goes on or is dropped by its connmark, replies and related ICMP errors go on: none of them
 *    ever enters user space. A flow's first packets do, and so does any packet of a flow whose mark was taken away
 *    (`requeue`), whatever its age. A refused first packet leaves no connection behind, so a retransmission is refused
 *    anew.
 * 4. Neighbour discovery that a router would not forward goes on. IPv6 dies without it.
 * 5. The rate guard: per source for known containers, with a limit of its own for lookups; one bucket for all sources
 *    that are not known, since a spoofing flood has any number of them. What it drops is counted in sets (`readFloods`).
 *    Packets of established flows that are judged again do not count as new connections.
 * 6. NFQUEUE.
 *
 * In nat, `TM-DNS` redirects port 53 to the DNS server; in filter, `TM-IN` lets that in where INPUT denies by default.
 *
 * ## Fail mode
 *
 * Open: a queue that nobody reads passes packets on (`--queue-bypass`), a full one too (NFQA_CFG_F_FAIL_OPEN, set by the
 * native part); and a process that is there but does not move is found out by a dead man's switch: rules 5 and 6 and the
 * redirection apply only while the `alive` set has entries, which live three seconds and are renewed every second by the
 * thread that does the work. Flows refused before stay refused. Closed: none of these; what nobody decides is dropped.
 *
 * ## Other people's rules
 *
 * Ours live in chains of our own; all else is jumps marked with a comment, at the head of two chains. One
 * `iptables-restore --noflush` per family replaces our chains and corrects the jumps, atomically in each table. The
 * commands are those of the host's alternative (nft or legacy), the same that Docker uses.
 *
 * ## Known flaws
 *
 * - A rule that somebody puts before our jumps and that accepts in mangle PREROUTING goes around us. We do not fight for
 *   the first place: others do, and two who insist never come to rest.
 * - The rate guard goes by source address, since the kernel has no limit by bridge port. A container that spoofs its
 *   neighbour's address spends the neighbour's budget of new connections (and is itself found out by its veth).
 * - A packet spoofed exactly into an allowed flow of a neighbour is not seen: the flow's mark lets it pass.
 * - Whoever empties the `cut` set frees established flows of a cut container until it is stopped, moments later.
 * - `nft monitor` sees the nft backend only; with the legacy one, changes are found by looking every second.
 *
 * Length: the essay above, and one class whose methods all wait for the same turn.
 */
import type { Clock } from "../clock.ts";
import type { NetworkConfig } from "../config.ts";
import { TidesmanError } from "../errors.ts";
import type { Native } from "../native/types.ts";
import type { Run } from "../run.ts";
import { commandError } from "./command-error.ts";
import {
  differences,
  type Installed,
  isComplete,
  parseInstalled,
  removalText,
  restoreText,
} from "./installed.ts";
import { type DnsRules, disjointPatterns, type Table, type TableRules, tableRules } from "./rules.ts";
import {
  allSets,
  changeSet,
  counterSets,
  createSets,
  type Family,
  familyOf,
  parseEntries,
  setName,
  swapCounters,
} from "./sets.ts";
import { type Watch, watchRuleset } from "./watch.ts";

export interface RulesetOptions {
  readonly config: NetworkConfig;
  readonly dns: DnsRules;
  readonly failMode: "open" | "closed";
  readonly run: Run;
  readonly clock: Clock;
  readonly native: Pick<Native, "conntrackMark">;
  /** Takes what an operator should know but that stops nothing (no `ip6tables`). */
  readonly warn: (message: string) => void;
}

/** New connections that the rate guard dropped since the last read. */
export interface Flood {
  /** Source address; null for all sources together that belong to no known container. */
  readonly address: string | null;
  readonly packets: number;
}

interface FamilyState {
  readonly family: Family;
  /** `iptables` or `ip6tables`, without the suffix. */
  readonly command: string;
  readonly wanted: readonly TableRules[];
  /** As read back after the last installation; null before it and after removal. */
  installed: Installed | null;
  /** Tables that did not exist before we came, to be removed again when they are empty. */
  createdTables: readonly Table[];
}

/** Attempts to install while others change the tables under our hands. */
const ATTEMPTS = 3;
/** Seconds to wait for the xtables lock (legacy backend). */
const LOCK_WAIT = "5";
/** A set is in use until the kernel has let go of the rules that named it; milliseconds and tries. */
const RELEASE_DELAY = 50;
const RELEASE_TRIES = 40;

/** Main thread only. All methods may be called at any time; what they do happens one after the other. */
export class Ruleset {
  readonly #options: RulesetOptions;
  #families: FamilyState[] | undefined;
  #interfaces: readonly string[] = [];
  #patterns: readonly string[] = [];
  #known: ReadonlySet<string> = new Set();
  readonly #cut = new Set<string>();
  #installed = false;
  /** Monotonic milliseconds when our last change ended; Infinity while one is made. */
  #changedAt = Number.NEGATIVE_INFINITY;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: RulesetOptions) {
    this.#options = options;
  }

  /**
   * Makes sets, chains and jumps what they have to be, whatever was there before; `interfaces` are the bridges of guarded
   * networks, beside the patterns of the configuration. Throws TM_RULESET with the rule that was refused,
   * TM_RULESET_TOOL_MISSING, TM_NOT_PERMITTED.
   */
  install(interfaces: readonly string[]): Promise<void> {
    return this.#inTurn(async () => {
      this.#interfaces = interfaces;
      const changed = this.#wantedPatterns().join() !== this.#patterns.join();
      if (changed || (await this.#findDifferences())?.length !== 0) await this.#install();
    });
  }

  /** Whether all that was installed is there, unchanged. False before the first installation. */
  check(): Promise<boolean> {
    return this.#inTurn(async () => (await this.#findDifferences())?.length === 0);
  }

  /**
   * Looks after the rules until closed: when they were changed, installs them again and then calls `onTampered` with what
   * was changed, and by which process where the kernel tells.
   */
  watch(onTampered: (detail: string) => void): Watch {
    const { run, clock, warn } = this.#options;
    return watchRuleset({
      run,
      clock,
      warn,
      find: () => this.#inTurn(async () => (await this.#findDifferences()) ?? []),
      repair: () => this.#inTurn(() => this.#repair()),
      changedAt: () => this.#changedAt,
      onTampered,
    });
  }

  /** The addresses of all containers, each with a budget of its own at the rate guard. */
  setKnown(addresses: readonly string[]): Promise<void> {
    return this.#inTurn(async () => {
      const before = this.#known;
      const after = new Set(addresses);
      if (this.#installed) {
        await this.#ipset(this.#changes("known", before, after));
      }
      this.#known = after;
    });
  }

  /** Drops everything the addresses send, at once. */
  cut(addresses: readonly string[]): Promise<void> {
    return this.#inTurn(async () => {
      for (const address of addresses) this.#cut.add(address);
      if (this.#installed) await this.#ipset(this.#changes("cut", new Set(), new Set(addresses)));
    });
  }

  uncut(addresses: readonly string[]): Promise<void> {
    return this.#inTurn(async () => {
      for (const address of addresses) this.#cut.delete(address);
      if (this.#installed) await this.#ipset(this.#changes("cut", new Set(addresses), new Set()));
    });
  }

  /** What the rate guard dropped since the last call; nothing is counted twice or lost between calls. */
  readFloods(): Promise<readonly Flood[]> {
    return this.#inTurn(async () => {
      if (!this.#installed) return [];
      const families = await this.#available();
      await this.#ipset(families.map(({ family }) => swapCounters(family)).join(""));
      const floods: Flood[] = [];
      let strays = 0;
      for (const { family } of families) {
        const sets = counterSets(family);
        for (const { entry, packets } of await this.#entries(sets.flood)) {
          if (packets > 0) floods.push({ address: entry, packets });
        }
        for (const { packets } of await this.#entries(sets.stray)) strays += packets;
      }
      if (strays > 0) floods.push({ address: null, packets: strays });
      return floods;
    });
  }

  /** Lets every flow that `address` opened be judged again by its next packet. Returns how many there are. */
  requeue(address: string): number {
    return this.#options.native.conntrackMark(address, 0, this.#options.config.markMask);
  }

  /**
   * Takes our rules and sets out and leaves the rest as it was. In closed mode they stay, so that a stopped daemon lets
   * nothing pass, unless `uninstall` is set.
   */
  remove(options: { readonly uninstall?: boolean } = {}): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#options.failMode === "closed" && options.uninstall !== true) return;
      for (const state of await this.#available()) {
        const text = removalText(await this.#save(state));
        if (text !== "") await this.#restore(state, text);
        await this.#removeCreatedTables(state);
        state.installed = null;
      }
      this.#installed = false;
      await this.#destroySets();
    });
  }

  // ------------------------------------------------------------------------------------------ what the above is made of

  async #install(): Promise<void> {
    this.#changedAt = Number.POSITIVE_INFINITY;
    try {
      await this.#installAll();
    } finally {
      this.#changedAt = this.#options.clock.monotonic();
    }
  }

  async #installAll(): Promise<void> {
    const families = await this.#available();
    this.#patterns = this.#wantedPatterns();
    for (const pattern of this.#patterns) {
      // IFNAMSIZ, and what iptables would read as something else.
      if (!/^[^\s/!"'\\-][^\s/"'\\]{0,14}$/.test(pattern)) {
        throw new TidesmanError(
          "TM_RULESET",
          `\`${pattern}\` is no interface name; write one such as \`docker0\`, or a pattern such as \`br-+\``,
        );
      }
    }
    await this.#ipset(families.map(({ family }) => createSets(family)).join(""));
    // Later on the data thread cuts, too, and what it added has to stay.
    const filled = this.#installed ? (["known"] as const) : (["known", "cut"] as const);
    let changes = this.#installed ? this.#changes("cut", new Set(), this.#cut) : "";
    for (const { family } of families) for (const kind of filled) changes += await this.#refill(kind, family);
    await this.#ipset(changes);
    for (const state of families) await this.#installFamily(state);
    this.#installed = true;
  }

  #wantedPatterns(): readonly string[] {
    return disjointPatterns([...this.#options.config.interfaces, ...this.#interfaces]);
  }

  async #installFamily(state: FamilyState): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      const before = await this.#save(state);
      if (state.installed === null && attempt === 1) {
        state.createdTables = state.wanted.map(({ table }) => table).filter((table) => !before.has(table));
      }
      try {
        await this.#restore(state, restoreText(before, state.wanted, this.#patterns));
        const after = await this.#save(state);
        if (isComplete(after, state.wanted, this.#patterns)) {
          state.installed = after;
          return;
        }
        throw new TidesmanError(
          "TM_RULESET",
          `the rules of \`${state.command}\` were changed by somebody else while they were installed`,
        );
      } catch (error) {
        // The jumps to remove were read a moment before: somebody may have removed them since.
        const final =
          !(error instanceof TidesmanError) || error.code !== "TM_RULESET" || attempt === ATTEMPTS;
        if (final) throw error;
      }
    }
  }

  /** Null when nothing was installed. */
  async #findDifferences(): Promise<readonly string[] | null> {
    if (!this.#installed) return null;
    const found: string[] = [];
    for (const state of await this.#available()) {
      if (state.installed === null) return null;
      found.push(...differences(state.installed, await this.#save(state)));
      const name = setName("known", state.family);
      const entries = new Set((await this.#entries(name, true)).map(({ entry }) => entry));
      const missing = this.#ofFamily(this.#known, state.family).filter((address) => !entries.has(address));
      if (missing.length > 0) found.push(`set \`${name}\` lacks ${missing.length} of its addresses`);
    }
    return found;
  }

  /** Unless the rules were removed in the meantime. */
  async #repair(): Promise<void> {
    if (this.#installed) await this.#install();
  }

  /** The families that can be guarded, found out once. */
  async #available(): Promise<readonly FamilyState[]> {
    if (this.#families !== undefined) return this.#families;
    const { config, dns, failMode, run, warn } = this.#options;
    const families: FamilyState[] = [];
    for (const family of [4, 6] as const) {
      const command = family === 4 ? "iptables" : "ip6tables";
      const result = await run(`${command}-save`, ["-t", "mangle"]);
      if (result.status === 0) {
        const wanted = tableRules(family, { config, dns, failMode });
        families.push({ family, command, wanted, installed: null, createdTables: [] });
      } else if (family === 4) {
        throw commandError(`${command}-save`, result);
      } else {
        warn(`IPv6 is not guarded: \`${commandError(`${command}-save`, result).message}\``);
      }
    }
    this.#families = families;
    return families;
  }

  async #save(state: FamilyState): Promise<Installed> {
    const result = await this.#options.run(`${state.command}-save`, []);
    if (result.status !== 0) throw commandError(`${state.command}-save`, result);
    return parseInstalled(result.stdout);
  }

  async #restore(state: FamilyState, text: string): Promise<void> {
    const command = `${state.command}-restore`;
    const result = await this.#options.run(command, ["-w", LOCK_WAIT, "--noflush"], text);
    if (result.status !== 0) throw commandError(command, result, text);
  }

  async #ipset(text: string): Promise<void> {
    if (text === "") return;
    const result = await this.#options.run("ipset", ["restore", "-exist"], text);
    if (result.status !== 0) throw commandError("ipset", result, text);
  }

  async #entries(name: string, mayLack = false): Promise<ReturnType<typeof parseEntries>> {
    const result = await this.#options.run("ipset", ["save", name]);
    if (result.status === 0) return parseEntries(result.stdout);
    if (mayLack) return [];
    throw commandError("ipset", result);
  }

  /** Text that makes the set what we know: what an earlier life of ours left there leaves. */
  async #refill(kind: "known" | "cut", family: Family): Promise<string> {
    const name = setName(kind, family);
    const before = new Set((await this.#entries(name)).map(({ entry }) => entry));
    return changeSet(
      name,
      before,
      new Set(this.#ofFamily(kind === "known" ? this.#known : this.#cut, family)),
    );
  }

  #changes(kind: "known" | "cut", before: ReadonlySet<string>, after: ReadonlySet<string>): string {
    return (this.#families ?? [])
      .map(({ family }) =>
        changeSet(
          setName(kind, family),
          new Set(this.#ofFamily(before, family)),
          new Set(this.#ofFamily(after, family)),
        ),
      )
      .join("");
  }

  #ofFamily(addresses: ReadonlySet<string>, family: Family): string[] {
    return [...addresses].filter((address) => familyOf(address) === family);
  }

  /**
   * A table that came into being with our rules goes with them, if it is empty. Its base chains are deleted first, which
   * the kernel refuses where somebody has put a rule into one meanwhile.
   */
  async #removeCreatedTables(state: FamilyState): Promise<void> {
    const { run } = this.#options;
    const family = state.family === 4 ? "ip" : "ip6";
    for (const table of state.createdTables) {
      const result = await run(`${state.command}-save`, ["-t", table]);
      if (result.status !== 0 || /^(-A|:\S+ (?!ACCEPT))/m.test(result.stdout)) continue;
      for (const { hook } of state.wanted.filter((rules) => rules.table === table)) {
        await run(state.command, ["-w", LOCK_WAIT, "-t", table, "-X", hook]);
      }
      const listed = await run("nft", ["list", "table", family, table]);
      if (listed.status === 0 && !listed.stdout.includes("chain "))
        await run("nft", ["delete", "table", family, table]);
    }
    state.createdTables = [];
  }

  async #destroySets(): Promise<void> {
    const { run, clock } = this.#options;
    const listed = await run("ipset", ["list", "-n"]);
    if (listed.status !== 0) throw commandError("ipset", listed);
    const there = new Set(listed.stdout.split("\n"));
    for (const name of [...allSets(4), ...allSets(6)].filter((set) => there.has(set))) {
      for (let attempt = 1; ; attempt++) {
        const result = await run("ipset", ["destroy", name]);
        if (result.status === 0) break;
        if (attempt === RELEASE_TRIES || !result.stderr.includes("in use"))
          throw commandError("ipset", result);
        await new Promise<void>((resolve) => clock.after(RELEASE_DELAY, resolve));
      }
    }
  }

  #inTurn<Value>(work: () => Promise<Value>): Promise<Value> {
    const result = this.#turn.then(work);
    this.#turn = result.catch(() => undefined);
    return result;
  }
}
