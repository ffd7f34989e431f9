import type { Resident } from "../container/table.ts";
import type { Answer } from "./answer.ts";
import type { Lookup } from "./lookup.ts";

/**
 * Looks at lookups for what only many of them say together, and reports it itself. `answer` is null for a
 * question that has not left the host yet, and only lent. `drop`: the lookup is prevented; `told`: it is suspicious, and goes on.
 */
export type Watch = (
  phase: "query" | "answer",
  resident: Resident,
  lookup: Pick<Lookup, "name" | "type">,
  answer: Answer | null,
) => "clean" | "told" | "drop";
