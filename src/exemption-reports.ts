/** What the control API does and tells of exemptions, put together from the parts. */
import type { Container } from "./container/types.ts";
import type { ControlDependencies, ExemptionReport } from "./control/types.ts";
import type { Daemon, Parts } from "./daemon.ts";
import type { GivenExemption } from "./exemptions.ts";
import { findContainer, profileOf } from "./why.ts";

export function exemptionDependencies(
  daemon: Daemon,
): Pick<ControlDependencies, "exemptions" | "exempt" | "withdrawExemptions"> {
  return {
    exemptions: async () => daemon.parts.exemptions.list().map(exemptionReport),
    async exempt(name, request) {
      const { exemptions, findings } = daemon.parts;
      const container = findContainer(daemon.parts, name);
      const given = await exemptions.give({ id: container.id, name: container.name }, request);
      findings.exempted([given]);
      return { ...exemptionReport(given), notes: notesOn(daemon.parts, container) };
    },
    async withdrawExemptions(name, target, by) {
      const { exemptions, findings, registry } = daemon.parts;
      // One that the engine does not tell of at the moment can be taken back all the same.
      const known = exemptions
        .list()
        .find(({ container }) => container.name === name || container.id === name);
      const container = registry.find(name) ?? known?.container ?? findContainer(daemon.parts, name);
      const ended = await exemptions.withdraw({ id: container.id, name: container.name }, target);
      findings.exempted(ended, by);
      return ended.map(exemptionReport);
    },
  };
}

export function exemptionReport({
  container,
  entry,
  since,
  until,
  by,
  note,
}: GivenExemption): ExemptionReport {
  const [from, to] = [new Date(since).toISOString(), new Date(until).toISOString()];
  return { container: { ...container }, entry, since: from, until: to, by, note };
}

/** What keeps an exemption of the container from having an effect. */
function notesOn(parts: Parts, container: Container): string[] {
  const notes: string[] = [];
  if (container.state === "blocked") {
    notes.push("the container is blocked: nothing of it passes until `tidesman unblock`");
  }
  if (profileOf(parts, container).rule === null) {
    notes.push("no rule governs the container: nothing of it is denied anyway");
  }
  return notes;
}
