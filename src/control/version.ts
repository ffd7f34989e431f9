/** The version of this installation. */
import { readFileSync } from "node:fs";

/** From package.json, which lies above both the sources and their built form. */
export function version(): string {
  const text = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  const { version: found } = JSON.parse(text) as { version?: unknown };
  return typeof found === "string" ? found : "unknown";
}
