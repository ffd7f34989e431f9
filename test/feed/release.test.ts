import fc from "fast-check";
import t from "tap";
import {
  approve,
  type Candidate,
  type InUse,
  judge,
  MAX_SMALL_LOSS,
  MIN_LOOKS,
  NO_STANDING,
  type ReleaseTerms,
  reject,
  type Standing,
} from "../../src/feed/release.ts";

const HOUR = 3_600_000;
const START = Date.UTC(2026, 0, 1);
const TERMS: ReleaseTerms = {
  name: "urlhaus",
  allowEmpty: false,
  maxShrink: 0.5,
  quarantine: 24 * HOUR,
  hold: "never",
};

/** A feed on simulated time: each line of a story is a look, or what the operator does. */
class Story {
  readonly #terms: ReleaseTerms;
  inUse: InUse | null;
  standing: Standing = NO_STANDING;
  message = "";

  constructor(terms: Partial<ReleaseTerms> = {}, inUse: InUse | null = { digest: "old", count: 1000 }) {
    this.#terms = { ...TERMS, ...terms };
    this.inUse = inUse;
  }

  /** Looks `hour` hours after the start; the state of the verdict. */
  look(hour: number, digest: string, count: number, newlyHit = 0): string {
    const candidate: Candidate = { digest, count, changes: 1, newlyHit };
    const verdict = judge(this.#terms, candidate, this.inUse, this.standing, START + hour * HOUR);
    // Standing goes through a file between two runs.
    this.standing = JSON.parse(JSON.stringify(verdict.standing)) as Standing;
    this.message = verdict.message;
    if (verdict.action === "install") this.inUse = { digest, count };
    return verdict.state;
  }
}

type Look = readonly [hour: number, digest: string, count: number, state: string, newlyHit?: number];

interface Scenario {
  readonly terms?: Partial<ReleaseTerms>;
  readonly inUse?: InUse | null;
  readonly story: readonly (Look | "approve" | `reject ${string}`)[];
}

const SCENARIOS: Readonly<Record<string, Scenario>> = {
  "a list that is emptied little by little is too small as well": {
    inUse: { digest: "a", count: 1000 },
    story: [
      [0, "b", 600, "inUse"],
      [1, "c", 360, "quarantined"],
      [2, "d", 350, "quarantined"],
      [3, "e", 520, "inUse"],
      [23, "f", 499, "quarantined"],
      [24, "f", 499, "inUse"],
      [25, "g", 270, "inUse"],
      [26, "h", 200, "quarantined"],
      "approve",
      [27, "h", 200, "inUse"],
      [28, "i", 101, "inUse"],
      [29, "j", 90, "quarantined"],
      [30, "k", 2000, "inUse"],
      [31, "l", 990, "quarantined"],
    ],
  },
  "the first list is installed": { inUse: null, story: [[0, "a", 5, "inUse"]] },
  "the first list is refused when it is empty": {
    inUse: null,
    story: [
      [0, "a", 0, "refused"],
      [1, "b", 5, "inUse"],
    ],
  },
  "the first list waits where every change does": {
    inUse: null,
    terms: { hold: "always" },
    story: [[0, "a", 5, "held"], "approve", [1, "a", 5, "inUse"]],
  },
  "the first list does not wait for what it newly hits": {
    inUse: null,
    terms: { hold: "learned" },
    story: [[0, "a", 5, "inUse", 3]],
  },
  "an empty list is refused, and no approval helps": {
    story: [[0, "a", 0, "refused"], "approve", [1, "a", 0, "refused"], [2, "old", 1000, "inUse"]],
  },
  "an empty list is taken where that is allowed, once it stayed so": {
    terms: { allowEmpty: true },
    story: [
      [0, "a", 0, "quarantined"],
      [12, "a", 0, "quarantined"],
      [24, "a", 0, "inUse"],
    ],
  },
  "an empty list is taken at once where a list may lose everything": {
    terms: { allowEmpty: true, maxShrink: 1 },
    story: [[0, "a", 0, "inUse"]],
  },
  "losing as much as is allowed is fine": { story: [[0, "a", 500, "inUse"]] },
  "losing more is not, until it stayed so": {
    story: [
      [0, "a", 499, "quarantined"],
      [1, "a", 499, "quarantined"],
      [23.9, "a", 499, "quarantined"],
      [24, "a", 499, "inUse"],
    ],
  },
  "time alone releases nothing": {
    story: [
      [0, "a", 1, "quarantined"],
      [100, "a", 1, "quarantined"],
      [101, "a", 1, "inUse"],
    ],
  },
  "a list in quarantine may change": {
    story: [
      [0, "a", 100, "quarantined"],
      [8, "b", 90, "quarantined"],
      [16, "c", 110, "quarantined"],
      [24, "d", 100, "inUse"],
    ],
  },
  "an empty look is no recovery, and no look at how small the list is": {
    story: [
      [0, "a", 100, "quarantined"],
      [8, "b", 0, "refused"],
      [24, "c", 100, "quarantined"],
      [25, "c", 100, "inUse"],
    ],
  },
  "recovery installs at once, and the clock begins anew": {
    story: [
      [0, "a", 100, "quarantined"],
      [20, "b", 900, "inUse"],
      [21, "a", 100, "quarantined"],
      [30, "a", 100, "quarantined"],
      [44, "a", 100, "quarantined"],
      [45, "a", 100, "inUse"],
    ],
  },
  "the list in use coming back ends the quarantine": {
    story: [
      [0, "a", 100, "quarantined"],
      [10, "old", 1000, "inUse"],
      [24, "a", 100, "quarantined"],
    ],
  },
  "approval ends the quarantine, for that list alone": {
    story: [
      [0, "a", 100, "quarantined"],
      "approve",
      [1, "b", 100, "quarantined"],
      [2, "a", 100, "inUse"],
      [3, "c", 10, "quarantined"],
    ],
  },
  "small lists may lose most of themselves": {
    inUse: { digest: "old", count: 11 },
    story: [
      [0, "a", 1, "inUse"],
      [1, "b", 2, "inUse"],
      [2, "c", 1, "inUse"],
    ],
  },
  "every change is held": {
    terms: { hold: "always" },
    story: [
      [0, "a", 1001, "held"],
      "approve",
      [1, "b", 1002, "held"],
      "approve",
      [2, "b", 1002, "inUse"],
      [3, "b", 1002, "inUse"],
    ],
  },
  "a held list that shrank does not pass by waiting": {
    terms: { hold: "always" },
    story: [
      [0, "a", 1, "held"],
      [12, "a", 1, "held"],
      [48, "a", 1, "held"],
    ],
  },
  "what newly hits learned names is held": {
    terms: { hold: "learned" },
    story: [[0, "a", 1001, "inUse"], [1, "b", 1002, "held", 1], "approve", [2, "b", 1002, "inUse", 1]],
  },
  "what is released from quarantine may still be held": {
    terms: { hold: "learned" },
    story: [
      [0, "a", 10, "quarantined", 1],
      [12, "a", 10, "quarantined", 1],
      [24, "a", 10, "held", 1],
      [25, "b", 10, "inUse"],
    ],
  },
  "a list that was rolled back is held until it changes": {
    story: ["reject bad", [0, "bad", 1000, "held"], [1, "good", 1000, "inUse"], [2, "bad", 1000, "held"]],
  },
  "a list that was rolled back is taken when approved": {
    story: [
      "reject bad",
      [0, "bad", 1000, "held"],
      "approve",
      [1, "bad", 1000, "inUse"],
      [2, "next", 1000, "inUse"],
      [3, "bad", 1000, "inUse"],
    ],
  },
  "rolling back takes an approval back": {
    terms: { hold: "always" },
    story: [[0, "bad", 1001, "held"], "approve", "reject bad", [1, "bad", 1001, "held"]],
  },
  "a clock that was set back begins the waiting anew": {
    story: [
      [100, "a", 1, "quarantined"],
      [0, "a", 1, "quarantined"],
      [12, "a", 1, "quarantined"],
      [24, "a", 1, "inUse"],
    ],
  },
};

for (const [title, { terms, inUse, story }] of Object.entries(SCENARIOS)) {
  t.test(title, async (t) => {
    const feed = new Story(terms, inUse);
    for (const step of story) {
      if (step === "approve") feed.standing = approve(feed.standing);
      else if (typeof step === "string") feed.standing = reject(feed.standing, step.slice("reject ".length));
      else {
        const [hour, digest, count, state, newlyHit] = step;
        t.equal(feed.look(hour, digest, count, newlyHit), state, `hour ${hour}: ${digest} of ${count}`);
        t.equal(feed.message === "", state === "inUse", "who keeps a list says why");
      }
    }
  });
}

t.test("messages name numbers, times and the command", async (t) => {
  const inUse = { digest: "old", count: 12_345, readAt: START };
  const say = (terms: Partial<ReleaseTerms>, candidate: Partial<Candidate>, standing = NO_STANDING): string =>
    judge(
      { ...TERMS, ...terms },
      { digest: "new", count: 12_400, changes: 87, newlyHit: 0, ...candidate },
      inUse,
      standing,
      START + HOUR,
    ).message;
  const kept = "keeps 12,345 entries as read at 2026-01-01T00:00:00.000Z; the new list has";
  t.equal(
    say({}, { count: 12 }),
    `${kept} 12 (99 % fewer); quarantined until 2026-01-02T01:00:00.000Z; ` +
      "`tidesman feeds approve urlhaus` takes it at once",
  );
  t.equal(say({}, { count: 0 }), `${kept} no entries, and \`allowEmpty\` is not set`);
  t.equal(
    say({ hold: "always" }, {}),
    `${kept} 12,400 (87 changes); every change is held; \`tidesman feeds approve urlhaus\` takes it`,
  );
  t.equal(
    say({ hold: "learned" }, { newlyHit: 3 }),
    `${kept} 12,400 (87 changes); it newly hits 3 learned names; \`tidesman feeds approve urlhaus\` takes it`,
  );
  t.equal(
    say({}, { count: 12_344 }, reject(NO_STANDING, "new")),
    `${kept} 12,344 (under 1 % fewer); it was rolled back before; \`tidesman feeds approve urlhaus\` takes it`,
  );
  t.equal(
    judge(
      { ...TERMS, hold: "always" },
      { digest: "a", count: 1, changes: 1, newlyHit: 0 },
      null,
      NO_STANDING,
      START,
    ).message,
    "has no list in use; the new list has 1 entry; every change is held; `tidesman feeds approve urlhaus` takes it",
  );
});

t.test("without a candidate there is nothing to approve", async (t) => {
  t.equal(approve(NO_STANDING), NO_STANDING);
});

const terms = fc.record({
  name: fc.constant("feed"),
  allowEmpty: fc.boolean(),
  maxShrink: fc.constantFrom(0, 0.1, 0.5, 1),
  quarantine: fc.constantFrom(0, HOUR, 10 * HOUR),
  hold: fc.constantFrom("never", "learned", "always"),
});
const looks = fc.array(
  fc.record({
    digest: fc.constantFrom("a", "b", "c", "d"),
    count: fc.constantFrom(0, 1, 30, 100, 1000),
    newlyHit: fc.nat(1),
    wait: fc.integer({ min: 1, max: 8 * HOUR }),
    approves: fc.boolean(),
    rejects: fc.boolean(),
  }),
  { maxLength: 30 },
);

t.test("no list gets past what the feed's terms say", async () => {
  fc.assert(
    fc.property(terms, looks, (feed, all) => {
      let now = START;
      let standing = NO_STANDING;
      let inUse: InUse | null = null;
      let approved: string | null = null;
      let rejected: string | null = null;
      // The slow twin of the quarantine's clock: every look since the list was last large enough.
      let small: number[] = [];
      // And of what losses are counted from: the last moment at which more was in force, within the quarantine.
      let peak = { count: 0, at: now };
      for (const { digest, count, newlyHit, wait, approves, rejects } of all) {
        now += wait;
        const candidate = { digest: `${digest}${count}`, count, changes: 1, newlyHit };
        const before: InUse | null = inUse;
        const verdict = judge(feed, candidate, before, standing, now);
        const again = judge(feed, candidate, before, verdict.standing, now);
        // Installed: what was approved is spent by then, and the list is the one in use.
        const expected: string = verdict.action === "keep" ? JSON.stringify(verdict) : "";
        if (expected !== "" && JSON.stringify(again) !== expected) return false;
        standing = verdict.standing;
        const same = before !== null && before.digest === candidate.digest;
        if (before !== null && (before.count >= peak.count || now - peak.at >= feed.quarantine)) {
          peak = { count: before.count, at: now };
        }
        const lost = before === null ? 0 : peak.count - count;
        const shrank = before !== null && lost > MAX_SMALL_LOSS && lost / peak.count > feed.maxShrink;
        if (same || (count > 0 && !shrank) || (count === 0 && feed.allowEmpty && !shrank)) small = [];
        else if (count > 0 || feed.allowEmpty) small.push(now);
        if (verdict.action === "install") {
          const waited = small.length >= MIN_LOOKS && now - small[0]! >= feed.quarantine;
          if (!same && candidate.digest !== approved) {
            if (count === 0 && !feed.allowEmpty) return false;
            if (shrank && !waited) return false;
            if (feed.hold === "always" || candidate.digest === rejected) return false;
            if (feed.hold === "learned" && newlyHit > 0 && before !== null) return false;
          }
          if (!same && count === 0 && !feed.allowEmpty) return false;
          if (before === null || (!same && (shrank || candidate.digest === approved)))
            peak = { count, at: now };
          inUse = { digest: candidate.digest, count };
          small = [];
          const settled = judge(feed, candidate, inUse, standing, now);
          if (settled.action !== "install" || JSON.stringify(settled.standing) !== JSON.stringify(standing)) {
            return false;
          }
        } else if (same) return false;
        if (approves) {
          standing = approve(standing);
          if (standing.approved !== null) approved = standing.approved;
          if (approved === rejected) rejected = null;
        }
        if (rejects && inUse !== null) {
          standing = reject(standing, candidate.digest);
          rejected = candidate.digest;
          if (approved === rejected) approved = null;
        }
      }
      return true;
    }),
    { numRuns: 2000 },
  );
});

t.test("a list that stays small is released in the end", async () => {
  fc.assert(
    fc.property(
      terms,
      fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1, maxLength: 5 }),
      (feed, counts) => {
        const inUse = { digest: "old", count: 1000 };
        let standing = NO_STANDING;
        for (let round = 0; round < 12; round++) {
          const candidate = {
            digest: `d${round}`,
            count: counts[round % counts.length]!,
            changes: 1,
            newlyHit: 0,
          };
          const verdict = judge(feed, candidate, inUse, standing, START + round * HOUR);
          if (verdict.action === "install") return feed.hold !== "always";
          standing = verdict.standing;
        }
        return feed.hold === "always";
      },
    ),
  );
});
