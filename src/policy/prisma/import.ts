/** Container runtime policies of Prisma Cloud Compute as rules of ours, with a note on all that could not be taken over. */
import { TidesmanError } from "../../errors.ts";
import type { PolicyFile, RuleFile } from "../schema.ts";
import { type ExportedRule, PRISMA_EXPORT } from "./export.ts";
import { scopesOf } from "./scope.ts";
import { dnsSection, networkSection } from "./sections.ts";

export interface PrismaImport {
  readonly policy: PolicyFile;
  /** What is not as it was there, one each. */
  readonly notes: readonly string[];
}

/** Parts of a rule that say something of processes and files, which are not watched here. */
const OTHER_PARTS = ["processes", "filesystem", "customRules", "wildFireAnalysis", "kubernetesEnforcement"];
/** What the API calls the policy of containers; those of hosts and functions have other fields. */
const CONTAINER_POLICY = "containerRuntime";
/** Problems of a file that are told at once. */
const MAX_TOLD = 20;
const MAX_NAME = 200;

/** `file` is only named in messages. Throws TM_POLICY when the text is no such export. */
export function importPrisma(text: string, file: string): PrismaImport {
  const notes = new Set<string>();
  const names = new Set<string>();
  const exported = read(text, file);
  const rules = exported.flatMap((rule): RuleFile[] => {
    const name = rule.name.trim() || "unnamed";
    const note = (what: string): void => void notes.add(`rule \`${name}\`: ${what}`);
    if (rule.disabled === true) {
      note("disabled there; left out");
      return [];
    }
    const scopes = scopesOf(rule.collections, note);
    if (scopes.length === 0) {
      note(
        "left out, since none of its collections could be taken over: its containers fall to the rules behind it",
      );
      return [];
    }
    const sections = sectionsOf(rule, note);
    return scopes.map(({ name: collection, scope }) => ({
      name: unique(collection === "" ? name : `${name} (${collection})`, names),
      ...(scope === undefined ? {} : { scope }),
      ...sections,
    }));
  });
  const other = OTHER_PARTS.filter((part) => exported.some((rule) => rule[part] !== undefined));
  if (other.length > 0) notes.add(`${other.join(", ")}: processes and files are not watched here; left out`);
  return { policy: { version: 1, rules }, notes: [...notes] };
}

function read(text: string, file: string): readonly ExportedRule[] {
  let value: unknown;
  try {
    // Some tools write a byte order mark.
    value = JSON.parse(text.replace(/^\ufeff/, ""));
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new TidesmanError(
      "TM_POLICY",
      `${file}: is no JSON (${why}); export the policy with the Console's API`,
    );
  }
  const { success, data, error } = PRISMA_EXPORT.safeParse(Array.isArray(value) ? { rules: value } : value);
  if (success) {
    const { _id: kind } = data;
    if (typeof kind !== "string" || kind === CONTAINER_POLICY) return data.rules;
    throw new TidesmanError(
      "TM_POLICY",
      `${file}: is the policy \`${kind}\`; the container runtime policy (\`${CONTAINER_POLICY}\`) is needed`,
    );
  }
  const told = error.issues
    .slice(0, MAX_TOLD)
    .map(({ path, message }) => `${file}: ${path.join(".") || "the file"}: ${message}`);
  throw new TidesmanError("TM_POLICY", [...told, `${file}: is no container runtime policy`].join("\n"));
}

function sectionsOf(rule: ExportedRule, note: (what: string) => void): Pick<RuleFile, "dns" | "network"> {
  const { cloudMetadataEnforcement, cloudMetadataEnforcementEffect: metadata } = rule;
  if (cloudMetadataEnforcement === true || (metadata !== undefined && metadata !== "disable"))
    note("to guard cloud metadata, deny 169.254.169.254 in `outboundAddresses`; not taken over");
  return {
    ...(rule.dns == null ? {} : { dns: dnsSection(rule, rule.dns, note) }),
    ...(rule.network == null ? {} : { network: networkSection(rule, rule.network, note) }),
  };
}

/** Names are told apart whatever their case. */
function unique(name: string, taken: Set<string>): string {
  const base = name.slice(0, MAX_NAME - 8).trim();
  let candidate = base;
  for (let number = 2; taken.has(candidate.toLowerCase()); number++) candidate = `${base} ${number}`;
  taken.add(candidate.toLowerCase());
  return candidate;
}
