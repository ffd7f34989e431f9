/** Does the container engine answer, and does it speak what the daemon does? */
import { engineVersion, isRootless } from "../engine-api.ts";
import type { Check } from "../patient.ts";
import { verdictsOf } from "../verdict.ts";

const { ok, warning, problem } = verdictsOf("engine");

/** Oldest API whose answers are understood: Docker 20.10 and Podman 4 say 1.41, Podman 3 says 1.40. */
const OLDEST = 1.4;

export const engine: Check = async ({ host, config, status }) => {
  const { socket } = config.docker;
  const found = await engineVersion(host, socket);
  if (typeof found === "string") {
    if (found === "EACCES" || found === "EPERM")
      return [problem(`no permission to use \`${socket}\``, "run it with sudo, or join the group `docker`")];
    return [
      warning(
        `no container engine answers at \`${socket}\` (${found}); no container is known until it does`,
        "start Docker, or say where it is with `docker.socket`",
      ),
    ];
  }
  const verdicts = [];
  const [major = 0, minor = 0] = found.api.split(".").map(Number);
  if (major + minor / 100 < OLDEST)
    verdicts.push(problem(`its API ${found.api} is too old`, "Docker 20.10 or Podman 3 is needed"));
  else verdicts.push(ok(`version ${found.version}, API ${found.api}, at \`${socket}\``));
  if (await isRootless(host, socket)) {
    const message = "it is rootless: its bridges are in a network namespace of its own, and not seen";
    verdicts.push(warning(message, "run containers that are to be watched with an engine of root's"));
  }
  if (status !== null && status.docker.state !== "connected") {
    const message = `it answers, and the daemon does not follow it: ${status.docker.error ?? status.docker.state}`;
    verdicts.push(problem(message, "see the daemon's log; restart it when it does not come back"));
  }
  return verdicts;
};
