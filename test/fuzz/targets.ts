/**
 * What is fuzzed, and the invariants that have to hold for any input. Each wire parser runs twice, with different bytes
 * around the input: a result that differs was read from outside of it.
 */
import { parseAnswer } from "../../src/dns/answer.ts";
import { parseQuery, QUERY_OK, Query } from "../../src/dns/message.ts";
import { Frames } from "../../src/dns/stream.ts";
import { TidesmanError } from "../../src/errors.ts";
import { compileFeeds } from "../../src/feed/compile.ts";
import { DomainSet } from "../../src/feed/domain-set.ts";
import { DOMAIN_MAGIC, HEADER, HEADER_BYTES, VERSION } from "../../src/feed/format.ts";
import { openFeeds } from "../../src/feed/index.ts";
import { ADDRESS_ROW, FeedBodyError, parseAddresses, parseDomains, parseList } from "../../src/feed/parse.ts";
import { type FeedSource, LIST_FORMATS } from "../../src/feed/types.ts";
import { nameToWire, wireLength, wireToName } from "../../src/name.ts";
import { PARSE, type ParsedPacket, parsedPacket, parsePacket } from "../../src/packet/parse.ts";
import { parsePolicy } from "../../src/policy/parse.ts";
import { compilePolicy } from "../../src/policy/policy.ts";
import {
  ADDRESS_LISTS,
  DOMAIN_LISTS,
  FORMATTED_LISTS,
  PACKETS,
  POLICIES,
  QUERIES,
  REPLIES,
} from "./corpus.ts";
import type { FuzzTarget } from "./mutate.ts";

/** Bytes before and behind the input, of two kinds. */
const MARGIN = 64;
const MARGINS = [0x00, 0xc1] as const;
const LARGEST_NAME = 255;

function surrounded(input: Uint8Array, margin: number): Uint8Array {
  const whole = new Uint8Array(input.length + 2 * MARGIN).fill(margin);
  whole.set(input, MARGIN);
  return whole;
}

/** Runs `read` in both margins; throws when they differ. Returns what both gave. */
function inBothMargins<Result>(
  input: Uint8Array,
  read: (bytes: Uint8Array, offset: number) => Result,
): Result {
  const [first, second] = MARGINS.map((margin) => read(surrounded(input, margin), MARGIN));
  expect(
    JSON.stringify(first) === JSON.stringify(second),
    "the result depends on bytes outside of the input",
  );
  return first as Result;
}

function expect(holds: boolean, what: string): void {
  if (!holds) throw new Error(what);
}

function expectName(wire: Uint8Array): void {
  expect(wire.length <= LARGEST_NAME && wireLength(wire) === wire.length, "not a wire name");
  const again = nameToWire(wireToName(wire));
  expect(
    again !== null && Buffer.compare(again, wire) === 0,
    "a name that does not survive being written and read",
  );
}

const query: FuzzTarget = {
  name: "DNS query",
  corpus: QUERIES,
  maxLength: 700,
  check(input) {
    const result = inBothMargins(input, (bytes, offset) => {
      const parsed = new Query();
      const outcome = parseQuery(bytes, offset, input.length, parsed, 7);
      const name = parsed.end === 0 ? null : Array.from(parsed.key.subarray(0, parsed.nameLength));
      return { outcome, name, end: parsed.end, type: parsed.type, size: parsed.size, edns: parsed.edns };
    });
    expect(result.end <= input.length, "the question ends behind the message");
    if (result.outcome === QUERY_OK) {
      expect(result.name !== null && result.end > 0, "accepted without a question");
      expectName(Uint8Array.from(result.name ?? []));
    }
  },
};

const ASKED = nameToWire("www.example.com") ?? new Uint8Array();
const QUESTION_END = 12 + ASKED.length + 4;
const BOUNDS = { minTTL: 0, maxTTL: 86_400, maxNegativeTTL: 900 };

const answer: FuzzTarget = {
  name: "DNS answer",
  corpus: REPLIES,
  maxLength: 1400,
  check(input) {
    if (input.length < QUESTION_END) return;
    // Header and question are compared with what was asked before the parser sees the message.
    const message = Uint8Array.from(input);
    message.set(REPLIES[0]!.subarray(12, QUESTION_END), 12);
    const result = inBothMargins(message, (bytes, offset) => {
      const parsed = parseAnswer(bytes, offset, message.length, QUESTION_END, ASKED, 1, BOUNDS);
      return parsed === null
        ? null
        : {
            hops: parsed.hops.map((hop) => Array.from(hop)),
            addresses: parsed.addresses.map((one) => Array.from(one)),
          };
    });
    for (const hop of result?.hops ?? []) expectName(Uint8Array.from(hop));
    for (const address of result?.addresses ?? [])
      expect(address.length === 4 || address.length === 16, "no address");
  },
};

const packet: FuzzTarget = {
  name: "packet",
  corpus: PACKETS,
  maxLength: 600,
  check(input) {
    const { outcome, parsed } = inBothMargins(input, (bytes, offset) => {
      const one: ParsedPacket = parsedPacket();
      return { outcome: parsePacket(bytes, offset, input.length, one), parsed: one };
    });
    if (parsed.version === 0) {
      expect(outcome !== PARSE.WHOLE, "whole without a version");
      return;
    }
    for (const at of [parsed.sourceOffset, parsed.destinationOffset]) {
      expect(
        at >= MARGIN && at + parsed.addressLength <= MARGIN + input.length,
        "an address outside of the packet",
      );
    }
    expect(parsed.headerLength <= input.length || outcome !== PARSE.WHOLE, "headers longer than the packet");
    expect(parsed.sourcePort < 65536 && parsed.destinationPort < 65536, "a port out of range");
  },
};

const SEED = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);
const NO_FEEDS = openFeeds(compileFeeds([], SEED));
const PROBE = {
  id: "1",
  name: "web",
  image: "docker.io/library/nginx:latest",
  imageDigest: "",
  namespace: null,
  labels: {},
};
const decoder = new TextDecoder();

const SET_SOURCES = ["one", "two"].map((name): FeedSource => {
  return { name, path: name, kind: "domain", match: "suffix", enabled: true };
});
const SET_LISTS = SET_SOURCES.map((_, list) => {
  return Array.from(
    { length: 40 },
    (_, number) => `n${number * (list + 1)}.${"deep.".repeat(number % 3)}example`,
  );
});
const SET_NAMES = SET_LISTS.flat().map((name) => nameToWire(`www.${name}`) ?? new Uint8Array());
const DOMAIN_SETS = [SET_LISTS, SET_LISTS.slice(1), []].map((lists) => {
  const parsed = lists.map((names) => parseDomains(Buffer.from(names.join("\n")), "suffix"));
  const feeds = parsed.map(({ entries, count }, list) => {
    const source = SET_SOURCES[list]!;
    const status = { name: source.name, kind: source.kind, entries: count, refused: 0, samples: [] };
    return { source, entries, status: { ...status, loadedAt: 0, error: null } };
  });
  return new Uint8Array(compileFeeds(feeds, SEED).domains);
});

const policy: FuzzTarget = {
  name: "policy.yaml",
  corpus: POLICIES,
  maxLength: 2000,
  check(input) {
    let parsed: ReturnType<typeof parsePolicy>;
    try {
      parsed = parsePolicy(decoder.decode(input), "policy.yaml");
    } catch (error) {
      expect(error instanceof TidesmanError && error.code === "TM_POLICY", `threw ${String(error)}`);
      const lines = (error as Error).message.split("\n");
      expect(
        lines.every((line) => /^policy\.yaml:\d+:\d+: /.test(line)),
        `a problem without a place: ${lines.join("|")}`,
      );
      return;
    }
    const compiled = compilePolicy(parsed.policy, NO_FEEDS, { revision: 1, host: "h" });
    const profile = compiled.profileFor(PROBE, null);
    compiled.decide({ kind: "query", profile, name: ASKED, type: 1 });
    const destination = Uint8Array.of(203, 0, 113, 66);
    compiled.decide({
      kind: "connection",
      profile,
      protocol: 6,
      destination,
      port: 443,
      internet: true,
      names: [],
    });
  },
};

function list(
  name: string,
  corpus: readonly Uint8Array[],
  parse: (body: Uint8Array) => { count: number },
): FuzzTarget {
  return {
    name,
    corpus,
    maxLength: 1500,
    check(input) {
      try {
        expect(parse(input).count >= 0, "a negative count");
      } catch (error) {
        if (!(error instanceof FeedBodyError)) throw error;
      }
    },
  };
}

/** Detection has to choose a format, and each reads what was meant for another: by the length, one of them at a time. */
const formattedList: FuzzTarget = {
  name: "list in any format",
  corpus: FORMATTED_LISTS,
  maxLength: 1500,
  check(input) {
    for (const format of [undefined, LIST_FORMATS[input.length % LIST_FORMATS.length]]) {
      for (const kind of ["domain", "address"] as const) {
        try {
          const options = { kind, now: 0, ...(format === undefined ? {} : { format }) };
          const { entries, count } = parseList(input, options);
          if (kind === "address")
            expect(entries.length === count * ADDRESS_ROW, "rows and their count differ");
          else expectNames(entries, count);
        } catch (error) {
          if (!(error instanceof FeedBodyError)) throw error;
        }
      }
    }
  },
};

function expectNames(entries: Uint8Array, count: number): void {
  const names = Buffer.from(entries).toString("latin1").split("\n").slice(0, -1);
  expect(names.length === count, "names and their count differ");
  for (const name of names) {
    expect(/^\.?[a-z0-9_-]+(\.[a-z0-9_-]+)+$/.test(name), `no folded name: ${name}`);
    expectName(nameToWire(name.replace(/^\./, "")) ?? new Uint8Array());
  }
}

const frames: FuzzTarget = {
  name: "DNS over TCP",
  corpus: QUERIES,
  maxLength: 700,
  check(input) {
    // However the stream is cut, the same messages come out.
    const whole: string[] = [];
    const cut: string[] = [];
    read(new Frames(), [input], whole);
    read(
      new Frames(),
      Array.from(input, (byte) => Uint8Array.of(byte)),
      cut,
    );
    expect(whole.join() === cut.join(), "messages depend on how the stream was cut");
  },
};

function read(from: Frames, chunks: readonly Uint8Array[], into: string[]): void {
  for (const chunk of chunks) {
    from.push(chunk, (message) => into.push(message.toString("hex")));
  }
}

/** Compiled domain sets whose header fits, so that every other byte of them is read: by the addon too, where it was built. */
const domainSet: FuzzTarget = {
  name: "compiled domains",
  corpus: DOMAIN_SETS,
  maxLength: 8000,
  check(input) {
    const buffer = new SharedArrayBuffer(Math.max(HEADER_BYTES, input.length & ~3));
    const bytes = new Uint8Array(buffer);
    bytes.set(input.subarray(0, bytes.length));
    const header = new Uint32Array(buffer, 0, HEADER_BYTES / 4);
    header[HEADER.MAGIC] = DOMAIN_MAGIC;
    header[HEADER.VERSION] = VERSION;
    header[HEADER.BYTES] = bytes.length;
    for (const portable of [false, true]) {
      try {
        const set = new DomainSet(buffer, SET_SOURCES, { trusted: true, portable });
        for (const name of SET_NAMES) {
          for (const { entry } of set.find(name, 0)) expect(entry.length < LARGEST_NAME, "a name too long");
        }
      } catch (error) {
        if (!(error instanceof TidesmanError && error.code === "TM_FEED")) throw error;
      }
    }
  },
};

export const TARGETS: readonly FuzzTarget[] = [
  query,
  answer,
  frames,
  packet,
  policy,
  list("domain list", DOMAIN_LISTS, (body) => parseDomains(body, "suffix")),
  list("address list", ADDRESS_LISTS, parseAddresses),
  formattedList,
  domainSet,
];
