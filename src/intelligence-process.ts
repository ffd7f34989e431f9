/** The process that intelligence.ts starts for the daemon: one update, one message, then it ends. */
import { setPriority } from "node:os";
import type { Places } from "./config.ts";
import { TidesmanError } from "./errors.ts";
import type { UpdateOptions } from "./feed/update.ts";
import { type UpdateMessage, updateHere } from "./intelligence.ts";

/** Behind everything that answers containers. */
const NICE = 10;

interface Order {
  readonly places: Places;
  readonly fetch: UpdateOptions["fetch"];
}

async function work(): Promise<UpdateMessage> {
  try {
    setPriority(NICE);
    const { places, fetch } = JSON.parse(process.env.TIDESMAN_UPDATE ?? "") as Order;
    const { changed, warnings } = await updateHere(places, { fetch });
    return { kind: "done", changed, warnings };
  } catch (error) {
    const code = error instanceof TidesmanError ? error.code : "TM_INTERNAL";
    return { kind: "failed", code, message: error instanceof Error ? error.message : String(error) };
  }
}

const message = await work();
process.send?.(message, () => process.disconnect?.());
