/** Where things are when the command line says nothing. Light: every command loads it. */
import type { Places } from "../config.ts";

export const DEFAULT_PLACES: Places = {
  configFile: "/etc/tidesman/tidesman.yaml",
  policyFile: "/etc/tidesman/policy.yaml",
  feedsFile: "/etc/tidesman/feeds.yaml",
  stateDirectory: "/var/lib/tidesman",
  runtimeDirectory: "/run/tidesman",
};
