/** The audit record: a public contract (JSON Lines, `audits --json`, the API and sinks). */
import type { AttackType, Effect, Reason } from "../policy/types.ts";

export interface AuditContainer {
  readonly id: string;
  readonly name: string;
  readonly image: string;
  readonly imageDigest: string;
  readonly namespace: string | null;
  readonly labels: Readonly<Record<string, string>>;
}

export interface AuditDns {
  readonly name: string;
  /** RR type mnemonic (`A`, `AAAA`, `TYPE65280`). */
  readonly type: string;
  /** Addresses and hop names of the answer, as text. */
  readonly answers: readonly string[];
  /** `NOERROR`, `NXDOMAIN`, …; null when no answer was seen. */
  readonly rcode: string | null;
}

export interface AuditConnection {
  readonly protocol: string;
  readonly source: string;
  readonly sourcePort: number;
  readonly destination: string;
  readonly port: number;
  readonly names: readonly string[];
}

/** A container that a fold stands for, and how many of its events. */
export interface FoldedContainer {
  readonly id: string;
  readonly name: string;
  readonly count: number;
}

/** What a record tells that stands for alike audits of several containers, or of a long time. */
export interface AuditFold {
  /** At most a hundred, in order of appearance; empty for findings about the host. */
  readonly containers: readonly FoldedContainer[];
  /** Identifier of the fold that this one follows; null for the first. */
  readonly continues: string | null;
}

export type AuditType = "dns" | "connection" | "listeningPort" | "portScan" | "rawSocket";

export interface AuditRecord {
  /** ULID; its time part is the time of the first event. */
  readonly id: string;
  /** ISO 8601 with milliseconds, UTC; the first event. */
  readonly time: string;
  readonly host: string;
  readonly type: AuditType;
  readonly attackType: AttackType;
  readonly effect: Exclude<Effect, "disable">;
  /** Null for findings about the host itself. In a fold the container of the first event, as are `dns` and `connection`. */
  readonly container: AuditContainer | null;
  readonly rule: string | null;
  readonly message: string;
  /** Events folded into this record. */
  readonly count: number;
  /** The latest of them; equals `time` while `count` is 1. */
  readonly lastTime: string;
  readonly dns: AuditDns | null;
  readonly connection: AuditConnection | null;
  readonly reasons: readonly Reason[];
  readonly revision: number;
  /** Only in a record that stands for alike audits. */
  readonly fold?: AuditFold;
}
