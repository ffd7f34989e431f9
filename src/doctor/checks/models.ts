/** How far the models have learned. */
import type { Check } from "../patient.ts";
import { verdictsOf } from "../verdict.ts";

const { ok, unknown } = verdictsOf("models");

export const models: Check = ({ status, config }) => {
  if (status === null) return [unknown("only the daemon knows them")];
  const counts = Object.entries(status.models).map(([state, count]) => `${count} ${state}`);
  const time = Math.round(config.models.learningTime / 60_000);
  return [ok(`${counts.join(", ")}; one learns for ${time} min of its containers' run time`)];
};
