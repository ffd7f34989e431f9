import type { Resident } from "../container/table.ts";
import type { Lookup } from "./lookup.ts";

/**
 * Looks at lookups for what only many of them say together, and reports it itself. `rcode` and `size` (of the answer, in bytes)
 * are 0 for a question that has not left the host yet. `drop`: the lookup is prevented; `told`: it is suspicious, and goes on.
 */
export type Watch = (
  phase: "query" | "answer",
  resident: Resident,
  lookup: Pick<Lookup, "name" | "type">,
  rcode: number,
  size: number,
) => "clean" | "told" | "drop";
