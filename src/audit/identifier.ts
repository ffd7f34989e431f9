/**
 * Identifiers of audit records: ULIDs whose time part is the time of the record's first event. Within one millisecond
 * they count up, so that the order of identifiers is the order in which records were opened.
 */
import { randomBytes } from "node:crypto";
import { encodeTime, incrementBase32 } from "ulid";

const ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const RANDOM_LENGTH = 16;
const TIME_LENGTH = 10;

/** Sixteen random characters of Crockford's base 32 (80 bits). */
function randomPart(): string {
  let text = "";
  for (const byte of randomBytes(RANDOM_LENGTH)) text += ALPHABET[byte & 31]!;
  return text;
}

/**
 * Makes identifiers. An event older than the one before it still gets its own time, with fresh random bits; the
 * `ulid` package's own monotonic factory would give it the later time.
 */
export function identifierFactory(random: () => string = randomPart): (time: number) => string {
  let lastTime = -1;
  let lastRandom = "";
  return (time) => {
    if (time === lastTime && lastRandom !== "Z".repeat(RANDOM_LENGTH)) {
      lastRandom = incrementBase32(lastRandom);
    } else {
      lastTime = time;
      lastRandom = random();
    }
    return encodeTime(Math.max(0, Math.floor(time)), TIME_LENGTH) + lastRandom;
  };
}
