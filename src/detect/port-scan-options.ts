/** The figures of the port scan detector. */

/**
 * How often a first contact is answered: by programs that know whom they talk to, and by a scanner. The ratio of the two
 * is what one outcome is worth. A failure of TCP weighs ln(0.95 / 0.5) = 0.64, an answer ln(0.05 / 0.5) = -2.3: a
 * container whose contacts fail in less than 78 of 100 cases drifts away from the threshold. Clients of peer-to-peer
 * networks fail in 40 to 70. Silence of UDP says less, since there is UDP that nobody answers (logs, statistics):
 * 0.34, and drift away below 89 of 100.
 */
export interface AnswerRates {
  readonly benign: number;
  readonly scanner: number;
}

export interface PortScanOptions {
  readonly tcp: AnswerRates;
  readonly udp: AnswerRates;
  /**
   * Chance that a benign row of outcomes, one that fails as often as `benign` allows, reaches the threshold before it is
   * given up (Wald's bound, alpha). Each failure after a rest or an answer that cleared the walk begins such a row.
   */
  readonly falseAlarm: number;
  /** Chance that a scanner as described is missed (beta). */
  readonly missed: number;
  /** Share of its weight that a TCP failure keeps where the container had the address from a lookup; UDP's keeps none. */
  readonly namedShare: number;
  /** How much farther the threshold lies for outcomes that share neither host nor port: they look like peer-to-peer. */
  readonly spreadFactor: number;
  /** Milliseconds without a failure after which a scan is over, and the next one told anew. */
  readonly rest: number;
  /** Milliseconds for which a target stays known after its last contact, at least; longer than `rest`. */
  readonly remember: number;
  /** Targets of a container known at most, a power of two; 8 bytes each. */
  readonly targets: number;
  /**
   * Ports, and hosts, of a container watched at a time; about 330 bytes each. A slow scan beside other traffic is missed
   * where so many other hosts (ports) fail between two of its probes.
   */
  readonly walks: number;
  /** Containers known at most; beyond it the one seen first is forgotten. */
  readonly containers: number;
  /** Seed of the hash of targets; random in production, so that nobody can make targets that look alike. */
  readonly seed: number;
}

/**
 * Threshold: ln((1 - missed) / falseAlarm) = 16.1. A scan is found after 26 failed TCP probes or 48 silent UDP ones, after
 * 46 TCP probes where one in ten is answered; spread over hosts and ports after 51. At one probe every 15 seconds that
 * is within 7 and 12 minutes.
 */
export const PORT_SCAN_DEFAULTS: PortScanOptions = {
  tcp: { benign: 0.5, scanner: 0.05 },
  udp: { benign: 0.3, scanner: 0.02 },
  falseAlarm: 1e-7,
  missed: 0.01,
  namedShare: 0.25,
  spreadFactor: 2,
  rest: 30 * 60_000,
  remember: 60 * 60_000,
  targets: 4096,
  walks: 256,
  containers: 4096,
  seed: 0,
};
