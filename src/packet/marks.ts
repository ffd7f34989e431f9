/** How the outcome of a decision is written in a mark: two adjacent bits of it, the rest is other people's. */
import { TidesmanError } from "../errors.ts";

export interface FlowMarks {
  /** Both bits. */
  readonly mask: number;
  readonly allowed: number;
  readonly denied: number;
}

/** The lower bit says allowed, the upper denied. Throws TM_CONFIG when `mask` is not two adjacent bits of 32. */
export function flowMarks(mask: number): FlowMarks {
  const allowed = (mask & -mask) >>> 0;
  const denied = (allowed << 1) >>> 0;
  if (mask <= 0 || mask > 0xffffffff || allowed + denied !== mask || denied === 0) {
    throw new TidesmanError(
      "TM_CONFIG",
      `\`network.markMask\` is \`0x${mask.toString(16)}\`; it must be two adjacent bits, such as \`0x30000\``,
    );
  }
  return { mask, allowed, denied };
}
