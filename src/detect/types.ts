/**
 * What all detectors have in common. A detector is told of events, keeps bounded state for each container, and says when
 * they add up to something. It never decides: what a detection is worth is the container's rule's to say.
 */
import type { Finding } from "../policy/types.ts";

/** A finding before the rule has said what it is worth, and when and for whom it is made. */
export type Detection = Pick<Finding, "type" | "attackType" | "message" | "dns" | "connection" | "reasons">;

export interface Detector<Event> {
  /**
   * Takes one event; `now` in milliseconds of a clock that never goes back. A detection is told once, and again only when
   * it has grown worse or the matter has rested for a while.
   */
  observe(event: Event, now: number): Detection | undefined;
  /** Drops what is known of a container that is gone. */
  forget(container: string): void;
}

/**
 * One lookup of a container, as the data thread sees it. The object and its bytes are used again for the next one:
 * nothing of it may be kept.
 */
export interface LookupEvent {
  /** Container id. */
  container: string;
  /** `query`: before anything leaves the host; `answer`: when its answer is there. */
  phase: "query" | "answer";
  /** Holds the name in wire form, ASCII folded, at `offset`. */
  bytes: Uint8Array;
  offset: number;
  /** RR type number (RFC 1035, section 3.2.2). */
  type: number;
  /** For answers: the rcode, and the bytes of the whole reply; 0 for queries. */
  rcode: number;
  size: number;
  /** For answers: a hash of the records, the same for the same ones; left out or 0: not known. */
  content?: number;
  /** For answers: bytes of data (label-payload.ts) in the names that the answer leads to by CNAME and its like. */
  carried?: number;
}
