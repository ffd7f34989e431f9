/** Would the daemon start with the files as they are now? */
import type { Check } from "../patient.ts";
import { verdictsOf } from "../verdict.ts";

const { ok, warning, problem } = verdictsOf("files");

export const files: Check = ({ files: checked }) =>
  checked.flatMap(({ kind, file, summary, problems, notices }) => {
    if (problems.length > 0) {
      const more = problems.length === 1 ? "" : ` (and ${problems.length - 1} more)`;
      return [problem(`${kind}: ${problems[0]}${more}`, "`tidesman check` tells all mistakes")];
    }
    const warnings = notices.filter(({ level }) => level === "warning");
    if (warnings.length === 0) return [ok(`${kind}: ${file}: ${summary}`)];
    return warnings.map(({ field, message }) => warning(`${kind}: ${file}: ${field}: ${message}`));
  });
