/** What makes findings alike. Parts of a key are kept apart by a character that none of them contains. */
import type { Finding } from "../policy/types.ts";
import type { AuditContainer } from "./record.ts";

const BETWEEN = "\u0000";

/** Alike in one container: the same attack type, effect, rule and subject. */
export function keyInContainer(finding: Finding): string {
  return [
    finding.container ?? "",
    finding.attackType,
    finding.effect,
    finding.rule ?? "",
    subjectOf(finding),
  ].join(BETWEEN);
}

/**
 * Alike in all containers of an image, which is told by its digest. A finding without an image is alike to others of its
 * container only, and one about the host to others about the host.
 */
export function keyInImage(finding: Finding, container: AuditContainer | null): string {
  const image = container?.imageDigest || container?.image || finding.container || "";
  return [image, finding.attackType, finding.effect, finding.rule ?? "", subjectOfMany(finding)].join(
    BETWEEN,
  );
}

function subjectOf(finding: Finding): string {
  if (finding.dns !== null) return finding.dns.name.toLowerCase();
  const connection = finding.connection;
  if (connection !== null) return `${connection.protocol} ${connection.destination} ${connection.port}`;
  return finding.message;
}

/**
 * What detectors found of a name that carries data, or was made up, is about the domain, not the one name that was seen last;
 * messages of theirs count and measure, so that no two are the same.
 */
function subjectOfMany(finding: Finding): string {
  const [reason] = finding.reasons;
  if (reason?.kind === "detection") {
    if (finding.attackType === "suspiciousDNS") return reason.subject ?? "";
    if (finding.dns === null && finding.connection === null && reason.subject !== undefined) {
      return reason.subject;
    }
  }
  return subjectOf(finding);
}
