/** Which containers are not, or not fully, seen; and which could undo what is done here. */
import { type EngineContainer, engineContainers } from "../engine-api.ts";
import type { Check, Patient } from "../patient.ts";
import { type Verdict, verdictsOf } from "../verdict.ts";

const { ok, warning, unknown } = verdictsOf("coverage");

interface Named {
  readonly name: string;
}

export const coverage: Check = async (patient) => {
  const { host, config, status } = patient;
  const running = await engineContainers(host, config.docker.socket);
  const powers = running === null ? [] : powersOf(running);
  if (status !== null) return [...seenByDaemon(patient), ...powers];
  if (running === null) return [unknown("neither the daemon nor the engine says which containers there are")];
  const inHost = running.filter(({ networkMode }) => networkMode === "host");
  return [unknown("only the daemon knows what it sees"), ...hostNetwork(inHost), ...powers];
};

function seenByDaemon({ containers }: Patient): readonly Verdict[] {
  const running = containers.filter(({ state }) => state === "running" || state === "paused");
  const inHost = running.filter(({ networkMode }) => networkMode === "host");
  const past = running.filter(
    (one) => one.networkMode !== "host" && one.networks.some(({ bridge }) => bridge === ""),
  );
  const ungoverned = running.filter(({ rule }) => rule === null);
  const verdicts = [...hostNetwork(inHost)];
  if (past.length > 0) {
    const message = `on a network past the host's bridges (macvlan, ipvlan), not seen there: ${named(past)}`;
    verdicts.push(warning(message, "attach them to a bridge network"));
  }
  const sharing = running.flatMap((one) => {
    const owner = running.find(({ id }) => one.networkMode === `container:${id}`);
    return owner === undefined || owner.rule === one.rule ? [] : [`\`${one.name}\` as \`${owner.name}\``];
  });
  if (sharing.length > 0) {
    const message = `in another container's network, and judged as that one by another rule than their own: ${sharing.join(", ")}`;
    verdicts.push(warning(message, "put both into the scope of one rule, or give each a network of its own"));
  }
  if (ungoverned.length > 0) {
    const message = `governed by no rule, and so not analysed: ${named(ungoverned)}`;
    verdicts.push(warning(message, "end policy.yaml in a rule without a scope"));
  }
  const seen = running.length - new Set([...inHost, ...past]).size;
  if (verdicts.length === 0 || seen > 0)
    verdicts.unshift(ok(`${seen} of ${running.length} running containers are seen`));
  return verdicts;
}

function hostNetwork(containers: readonly Named[]): Verdict[] {
  if (containers.length === 0) return [];
  return [
    warning(`in the host's network, not seen: ${named(containers)}`, "give them a network of their own"),
  ];
}

function powersOf(containers: readonly EngineContainer[]): readonly Verdict[] {
  const verdicts = [];
  const strong = containers.filter(({ powers }) => powers.length > 0);
  if (strong.length > 0) {
    const each = strong.map(({ name, powers }) => `\`${name}\` (${powers.join(", ")})`).join(", ");
    verdicts.push(
      warning(`could undo what is done on this host: ${each}`, "take from them what they do not need"),
    );
  }
  const administers = containers.filter((one) => one.administersNetwork && one.powers.length === 0);
  if (administers.length > 0) {
    const message = `may change addresses and routes of their own (NET_ADMIN): ${named(administers)}`;
    verdicts.push(
      warning(
        `${message}; a source that is not theirs is told (\`spoofedSource\`)`,
        "drop it where it is not needed",
      ),
    );
  }
  return verdicts;
}

function named(some: readonly Named[]): string {
  return some.map(({ name }) => `\`${name}\``).join(", ");
}
