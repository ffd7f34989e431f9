/**
 * A model as a file: `{ "format": "tidesman-model", "version": 1, … }`, as docs/models.md describes it. What comes in is
 * checked against everything that containers cannot teach either.
 */
import { z } from "zod";
import { parsePrefix } from "../address.ts";
import { TidesmanError } from "../errors.ts";
import { nameToWire } from "../name.ts";
import type { Sightings } from "./entries.ts";
import { mayCover, mayLearn } from "./generalise.ts";
import { literalName, MAX_NAMES, MAX_PORTS, type Model, type ModelEntries } from "./model.ts";

/** Bytes of the largest model as a file, with room. */
export const MAX_MODEL_FILE = 16 * 1024 * 1024;
const MAX_TOLD = 20;

const time = z.iso.datetime({ precision: 3 });
const sightings = {
  firstSeen: time,
  lastSeen: time,
  count: z.int().nonnegative(),
  container: z.string().max(128),
};
const port = { protocol: z.int().min(0).max(255), port: z.int().min(0).max(65_535) };

export const modelFile = z.strictObject({
  format: z.literal("tidesman-model"),
  version: z.literal(
    1,
    "is of another version of the file, which this one does not read; it reads version 1",
  ),
  key: z.string().regex(/^[\w+.-]+:[0-9a-f]+(@[\w.-]+)?$/, "is no image digest"),
  image: z.string().max(512),
  exportedAt: time,
  names: z
    .array(
      z.strictObject({ name: z.string().max(1_024), ...sightings, members: z.array(z.string()).optional() }),
    )
    .max(MAX_NAMES),
  outboundPorts: z.array(z.strictObject({ ...port, ...sightings })).max(MAX_PORTS),
  listeningPorts: z.array(z.strictObject({ ...port, ...sightings })).max(MAX_PORTS),
  internalDestinations: z.array(z.strictObject({ subnet: z.string(), ...port, ...sightings })).max(MAX_PORTS),
});
export type ModelFile = z.infer<typeof modelFile>;

/** `now`: milliseconds since the epoch. */
export function exportModel(model: Model, now: number): ModelFile {
  const { names, ports, listening, destinations } = model.entries();
  const plainPort = ({ protocol, port, ...rest }: ModelEntries["ports"][number]) => ({
    protocol,
    port,
    ...outward(rest),
  });
  return {
    format: "tidesman-model",
    version: 1,
    key: model.key,
    image: model.record.image,
    exportedAt: new Date(now).toISOString(),
    names: names.map(({ name, members, ...rest }) => ({
      name,
      ...outward(rest),
      ...(members === undefined ? {} : { members: [...members] }),
    })),
    outboundPorts: ports.map(plainPort),
    listeningPorts: listening.map(plainPort),
    internalDestinations: destinations.map(({ subnet, ...rest }) => ({ subnet, ...plainPort(rest) })),
  };
}

/** The entries of a file. Throws TM_USAGE with all that may never be learned. */
export function importEntries(file: ModelFile): ModelEntries {
  const problems: string[] = [];
  for (const { name, members = [] } of file.names) {
    const why = refusal(name) ?? members.map(refusal).find((one) => one !== null) ?? null;
    if (why !== null) problems.push(why);
  }
  for (const { subnet } of file.internalDestinations) {
    const prefix = parsePrefix(subnet);
    const length = prefix?.bytes.length === 4 ? 24 : 64;
    if (prefix?.length !== length) problems.push(`\`${subnet}\` is no /24, and no /64 of IPv6`);
  }
  if (problems.length > 0) {
    const more = problems.length > MAX_TOLD ? `; and ${problems.length - MAX_TOLD} more` : "";
    const told = problems.slice(0, MAX_TOLD).join("; ");
    throw new TidesmanError("TM_USAGE", `the model was refused, nothing of it was taken: ${told}${more}`);
  }
  const port = ({ protocol, port, ...rest }: ModelFile["outboundPorts"][number]) => ({
    protocol,
    port,
    ...inward(rest),
  });
  return {
    names: file.names.map(({ name, members, ...rest }) => ({
      name,
      ...inward(rest),
      ...(members === undefined ? {} : { members }),
    })),
    ports: file.outboundPorts.map(port),
    listening: file.listeningPorts.map(port),
    destinations: file.internalDestinations.map(({ subnet, ...rest }) => ({ subnet, ...port(rest) })),
  };
}

function refusal(name: string): string | null {
  const below = name.startsWith("*.");
  const bare = below ? name.slice(2) : name;
  if (nameToWire(bare) === null || bare !== bare.toLowerCase()) return `\`${name}\` is no name in lower case`;
  if (below) return mayCover(bare) ? null : `\`${name}\` would cover what others can register`;
  return mayLearn(literalName(name)) ? null : `\`${name}\` is never learned`;
}

type Outward = Omit<Sightings, "firstSeen" | "lastSeen" | "inherited"> & {
  firstSeen: string;
  lastSeen: string;
};

function outward({ firstSeen, lastSeen, count, container }: Sightings): Outward {
  const iso = (at: number): string => new Date(at).toISOString();
  return { firstSeen: iso(firstSeen), lastSeen: iso(lastSeen), count, container };
}

function inward({ firstSeen, lastSeen, count, container }: Outward): Sightings {
  return { firstSeen: Date.parse(firstSeen), lastSeen: Date.parse(lastSeen), count, container };
}
