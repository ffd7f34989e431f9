/** policy.yaml: text → checked rules, all problems at once, and what an operator should know of a file that is accepted. */
import { type Notice, type Path, SourceDocument } from "../document.ts";
import { checkLists } from "./overlaps.ts";
import { isCatchAll } from "./rules.ts";
import { POLICY_SCHEMA, type PolicyFile, type RuleFile } from "./schema.ts";

export type { Notice } from "../document.ts";

/** What holds when there is no policy.yaml: connections are analysed and told, lookups are not. */
export const DEFAULT_POLICY: PolicyFile = {
  version: 1,
  rules: [
    {
      name: "Default - alert on suspicious runtime behavior",
      dns: { effect: "disable" },
      network: { effect: "alert" },
    },
  ],
};

/**
 * Reads and checks the text of a policy.yaml. `file` is only named in messages.
 * Throws TM_POLICY with a line `FILE:LINE:COLUMN: field: what is wrong; what is allowed` for every problem.
 */
export function parsePolicy(text: string, file: string): { policy: PolicyFile; notices: readonly Notice[] } {
  const document = new SourceDocument(text, file);
  const policy = document.check(POLICY_SCHEMA);
  // These look at the plain data, so that they find their problems beside those of the schema.
  const rules = document.at(["rules"]);
  const count = Array.isArray(rules) ? rules.length : 0;
  checkRuleNames(document, count);
  for (let rule = 0; rule < count; rule++) checkLists(document, rule);
  document.refuse("TM_POLICY");
  if (policy === null) throw new Error("a document that does not fit its schema has problems");
  noteReach(document, policy.rules);
  policy.rules.forEach((rule, index) => {
    noteUse(document, rule, ["rules", index]);
  });
  return { policy, notices: document.notices };
}

function checkRuleNames(document: SourceDocument, count: number): void {
  const seen = new Map<string, number>();
  for (let rule = 0; rule < count; rule++) {
    const path = ["rules", rule, "name"];
    const name = document.at(path);
    if (typeof name !== "string") continue;
    const folded = name.trim().toLowerCase();
    const earlier = seen.get(folded);
    if (earlier === undefined) seen.set(folded, rule);
    else
      document.problem(
        path,
        `rules[${earlier}] has the name \`${name.trim()}\` too; each rule needs its own`,
      );
  }
}

/** The first rule that matches governs alone: says which rules are never reached, and what no rule reaches. */
function noteReach(document: SourceDocument, rules: readonly RuleFile[]): void {
  const scopes = new Map<string, string>();
  let catchAll: string | null = null;
  rules.forEach((rule, index) => {
    const path = ["rules", index];
    const scope = JSON.stringify(rule.scope ?? {}).toLowerCase();
    const twin = scopes.get(scope);
    if (catchAll !== null) {
      document.notice(
        "warning",
        path,
        `is never reached: the rule \`${catchAll}\` above it matches every container`,
      );
    } else if (twin !== undefined) {
      document.notice("warning", path, `is never reached: the rule \`${twin}\` above it has the same scope`);
    }
    if (twin === undefined) scopes.set(scope, rule.name);
    if (isCatchAll(rule.scope)) catchAll ??= rule.name;
  });
  if (catchAll !== null) return;
  const what = "no rule matches every container; those that none matches are not analysed";
  document.notice("info", ["rules"], what, true);
}

/** Fields of one rule that do nothing. */
function noteUse(document: SourceDocument, rule: RuleFile, path: Path): void {
  if (rule.dns === undefined && rule.network === undefined) {
    document.notice("warning", path, "has neither `dns` nor `network`; its containers are not analysed");
  }
  const { dns, network } = rule;
  if (dns !== undefined) {
    noteLists(document, [...path, "dns"], dns);
    const judged = [dns.deniedEffect, dns.intelligence].some((effect) => (effect ?? "disable") !== "disable");
    if (dns.effect === "disable" && dns.denied !== undefined && dns.deniedEffect === undefined) {
      const what = "is not judged, since the section's effect is `disable`; set `deniedEffect` to judge it";
      document.notice("warning", [...path, "dns", "denied"], what, true);
    }
    if (dns.effect === "disable" && dns.allowed !== undefined && !judged) {
      const what = "does nothing, since the section's effect is `disable`";
      document.notice("warning", [...path, "dns", "allowed"], what, true);
    }
  }
  const { listeningPorts, rawSockets } = network ?? {};
  const cannot =
    "cannot prevent what is there already: it tells it, as `alert` does; `block` blocks the container";
  if (rawSockets === "prevent") document.notice("info", [...path, "network", "rawSockets"], cannot, true);
  if (listeningPorts !== undefined && (listeningPorts.deniedEffect ?? network?.effect) === "prevent") {
    const at = listeningPorts.deniedEffect === undefined ? [] : ["deniedEffect"];
    document.notice("info", [...path, "network", "listeningPorts", ...at], cannot, true);
  }
  for (const key of ["outboundAddresses", "outboundPorts", "listeningPorts"] as const) {
    const lists = network?.[key];
    if (lists === undefined) continue;
    noteLists(document, [...path, "network", key], lists);
    if (network?.effect === "disable" && lists.denied !== undefined && lists.deniedEffect === undefined) {
      const what = "is not judged, since the section's effect is `disable`; set `deniedEffect` to judge it";
      document.notice("warning", [...path, "network", key, "denied"], what, true);
    }
  }
}

interface Lists {
  readonly denied?: readonly unknown[];
  readonly deniedEffect?: string;
}

function noteLists(document: SourceDocument, path: Path, lists: Lists): void {
  if (lists.deniedEffect !== undefined && (lists.denied ?? []).length === 0) {
    document.notice("warning", [...path, "deniedEffect"], "does nothing without a `denied` list", true);
  }
  if (lists.deniedEffect === "disable" && (lists.denied ?? []).length > 0) {
    document.notice(
      "warning",
      [...path, "deniedEffect"],
      "is `disable`: the `denied` list is not judged",
      true,
    );
  }
}
