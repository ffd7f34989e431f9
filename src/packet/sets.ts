/**
 * The kernel's address sets (ipset) that the rules match, and the text that makes and fills them. IPv4 and IPv6 each
 * have their own, because a set holds one family.
 *
 * | set      | holds | who writes |
 * |----------|-------|------------|
 * | cut      | addresses of containers cut off by `block` | data thread (at once), main thread |
 * | known    | addresses of known containers, for the rate guard | main thread |
 * | alive    | the whole address space, for `ALIVE_TIMEOUT` seconds: the heartbeat | data thread |
 * | flood    | sources whose new connections the rate guard dropped, with counters | kernel |
 * | stray    | the whole address space, with counters: the same for sources that are not known | main thread |
 * | …-read   | where `flood` and `stray` are swapped to, so that they are read without losing a packet | main thread |
 */

/** Every set of ours starts with it. */
const PREFIX = "tm-";

export const SETS = {
  cut4: `${PREFIX}cut4`,
  cut6: `${PREFIX}cut6`,
  known4: `${PREFIX}known4`,
  known6: `${PREFIX}known6`,
  alive4: `${PREFIX}alive4`,
  alive6: `${PREFIX}alive6`,
  flood4: `${PREFIX}flood4`,
  flood6: `${PREFIX}flood6`,
  stray4: `${PREFIX}stray4`,
  stray6: `${PREFIX}stray6`,
} as const;

/**
 * What the heartbeat adds to `alive4` and `alive6` (an entry with a colon): together everything, as a set of networks
 * cannot hold a prefix of length 0.
 */
export const ALIVE_ENTRIES = ["0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1"] as const;

/** Seconds that a heartbeat lasts; to be renewed every second. */
export const ALIVE_TIMEOUT = 3;

export type Family = 4 | 6;
export type SetKind = "cut" | "known" | "alive" | "flood" | "stray";

/** Longest list of sources of which the rate guard's drops are counted one by one. */
const FLOOD_ENTRIES = 4096;
const COUNTED: readonly ("flood" | "stray")[] = ["flood", "stray"];

export function setName(kind: SetKind, family: Family): string {
  return SETS[`${kind}${family}`];
}

export function familyOf(address: string): Family {
  return address.includes(":") ? 6 : 4;
}

function readName(kind: "flood" | "stray", family: Family): string {
  return `${setName(kind, family)}-read`;
}

function everything(family: Family): readonly string[] {
  return ALIVE_ENTRIES.filter((entry) => familyOf(entry) === family);
}

/** All names of a family, those first that nothing else depends on. */
export function allSets(family: Family): readonly string[] {
  const kinds: readonly SetKind[] = ["cut", "known", "alive", "flood", "stray"];
  return [...kinds.map((kind) => setName(kind, family)), ...COUNTED.map((kind) => readName(kind, family))];
}

/** `ipset restore -exist` input: makes the sets of a family that are not there; what the others hold stays. */
export function createSets(family: Family): string {
  const inet = `family ${family === 4 ? "inet" : "inet6"}`;
  const counted = {
    flood: `hash:ip ${inet} hashsize 256 maxelem ${FLOOD_ENTRIES} timeout 60 counters`,
    stray: `hash:net ${inet} hashsize 64 maxelem 8 counters`,
  };
  const lines = [
    `create ${setName("cut", family)} hash:ip ${inet} hashsize 256 maxelem 65536`,
    `create ${setName("known", family)} hash:ip ${inet} hashsize 1024 maxelem 65536`,
    `create ${setName("alive", family)} hash:net ${inet} hashsize 64 maxelem 8 timeout ${ALIVE_TIMEOUT}`,
  ];
  for (const kind of COUNTED) {
    lines.push(`create ${setName(kind, family)} ${counted[kind]}`);
    lines.push(`create ${readName(kind, family)} ${counted[kind]}`);
  }
  lines.push(...everything(family).map((entry) => `add ${setName("stray", family)} ${entry}`));
  return `${lines.join("\n")}\n`;
}

/** `ipset restore -exist` input: from `before` to `after`, both of one family. */
export function changeSet(name: string, before: ReadonlySet<string>, after: ReadonlySet<string>): string {
  const lines: string[] = [];
  for (const address of before) if (!after.has(address)) lines.push(`del ${name} ${address}`);
  for (const address of after) if (!before.has(address)) lines.push(`add ${name} ${address}`);
  return lines.map((line) => `${line}\n`).join("");
}

/** `ipset restore` input: the counters so far go to the `-read` sets, fresh ones take their place. */
export function swapCounters(family: Family): string {
  const lines: string[] = [];
  for (const kind of COUNTED) lines.push(`flush ${readName(kind, family)}`);
  for (const entry of everything(family)) lines.push(`add ${readName("stray", family)} ${entry}`);
  for (const kind of COUNTED) lines.push(`swap ${setName(kind, family)} ${readName(kind, family)}`);
  return `${lines.join("\n")}\n`;
}

/** The sets that hold the counters after a swap. */
export function counterSets(family: Family): { readonly flood: string; readonly stray: string } {
  return { flood: readName("flood", family), stray: readName("stray", family) };
}

/** Entries of one set out of `ipset save` text, with their packet counters (0 where the set has none). */
export function parseEntries(saved: string): { readonly entry: string; readonly packets: number }[] {
  const entries: { entry: string; packets: number }[] = [];
  for (const line of saved.split("\n")) {
    const match = /^add \S+ (\S+)(?:.* packets (\d+))?/.exec(line);
    if (match !== null) entries.push({ entry: match[1]!, packets: Number(match[2] ?? 0) });
  }
  return entries;
}
