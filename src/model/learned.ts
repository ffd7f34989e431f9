/** Names that models hold, for those who only want to compare with them: read beside the process that writes them. */
import { existsSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";

export interface LearnedName {
  readonly model: string;
  /** `example.com`, or `*.example.com` for every name below it. */
  readonly name: string;
}

/** All names of all models in the database `file`; none when there is no database, or no one of ours. */
export function readLearnedNames(file: string): LearnedName[] {
  if (!existsSync(file)) return [];
  try {
    const database = new DatabaseSync(file, { readOnly: true, timeout: 2_000 });
    try {
      return database.prepare("SELECT model, name FROM name").all() as unknown as LearnedName[];
    } finally {
      database.close();
    }
  } catch {
    // Being written for the first time, or damaged: its owner tells, and an update does not wait for it.
    return [];
  }
}
