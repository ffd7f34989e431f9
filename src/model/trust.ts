/** How far a model can be relied on: by the clock, and by how much is still new in it. */
import type { Model } from "./model.ts";

/**
 * `learning`: much is new, or it has hardly begun; `settling`: little is new lately, or it is on trial; `settled`: hardly
 * anything is, and it has learned as long as it should, or an operator vouches for it.
 */
export type Trust = "learning" | "settling" | "settled";

/** New entries per hour of run time: from here on a model is `learning`, and below that one `settled`. */
const MANY = 6;
const FEW = 1;

/** `learningTime`: run time that it is to learn for, extension included; milliseconds. */
export function trustOf(model: Model, learningTime: number): Trust {
  const { state, livelyState, locked, learnedTime, trialUntil, dropped } = model.record;
  if (locked) return "settled";
  const { saturation } = model;
  const lively = state === "archived" ? livelyState : state;
  if (lively === "active" && trialUntil === null && dropped === 0) return "settled";
  if (saturation === null) return lively === "active" ? "settling" : "learning";
  if (saturation >= MANY || (lively !== "active" && learnedTime * 3 < learningTime)) return "learning";
  return saturation < FEW && learnedTime >= learningTime && dropped === 0 ? "settled" : "settling";
}
