/**
 * A DNS load generator on the project's own batched sockets, since dnsperf stops far below what the faster servers do.
 * Arguments: PORT SECONDS WINDOW NAMES [RATE]; with 0 names every one is new. Without a rate each answer lets the next
 * question go (a closed loop); with one, so many questions go each second whatever comes back, and latency counts from
 * when a question was due: a server that stands still is charged for all that it kept waiting. Prints one JSON object:
 * answers per second, their latency in µs, what got no answer, and all answers with those before the measurement.
 */
import { loadNative } from "../../src/native/native.ts";
import { SLOT } from "../../src/native/types.ts";
import { freshQuery, queryFor, setSerial } from "./names.ts";

const [port = 5310, seconds = 3, window = 128, names = 1000, pace = 0] = process.argv.slice(2).map(Number);
const BATCH = 64;
const SLOT_SIZE = 1024;
const LOST_AFTER = 800;
/** Fresh names before the measurement, enough for code to be compiled; a slow server is not waited for longer. */
const FRESH_WARMUP = 30_000;
const LONGEST_WARMUP = 2000;
const fresh = names === 0;
// Another start for each run, so that no run asks what one before it asked.
let serial = Math.floor(Math.random() * 1e6) * 1e6;
const queries = fresh ? [freshQuery(serial)] : Array.from({ length: names }, (_, index) => queryFor(index));
const native = loadNative();
const sentAt = new Float64Array(65536);
const latencies = new Float64Array(1 << 22);
/** Whether questions go by the clock rather than by answers. */
let paced = false;
let measured = 0;
let answered = 0;
let id = 0;
let next = 0;
let measuring = false;
/** Questions without an answer while it was measured. */
let unanswered = 0;

const arena = native.openUdpArena(
  // A batch may hold late answers before the one that lets the next question go: its slot can be any of the batch.
  { slots: BATCH + Math.max(BATCH, window), slotSize: SLOT_SIZE, maxSends: window + BATCH, rounds: 4 },
  (socket, count) => {
    const now = performance.now();
    for (let slot = 0; slot < count; slot++) {
      const at = slot * SLOT_SIZE;
      const reply = (arena.memory[at]! << 8) | arena.memory[at + 1]!;
      const sent = sentAt[reply]!;
      if (sent === 0) continue;
      sentAt[reply] = 0;
      answered++;
      if (measuring && measured < latencies.length) latencies[measured++] = now - sent;
      if (!paced) ask(BATCH + slot, socket, now);
    }
  },
);

function ask(slot: number, socket: number, now: number): void {
  const query = queries[next]!;
  next = next + 1 === queries.length ? 0 : next + 1;
  const at = slot * SLOT_SIZE;
  while (sentAt[id] !== 0) id = (id + 1) & 0xffff;
  arena.memory.set(query, at);
  if (fresh) setSerial(arena.memory, at, serial++);
  arena.memory[at] = id >>> 8;
  arena.memory[at + 1] = id & 255;
  sentAt[id] = now;
  id = (id + 1) & 0xffff;
  arena.meta[slot * SLOT.STRIDE + SLOT.LENGTH] = query.length;
  arena.list(slot, socket);
}

const socket = arena.open({
  family: 4,
  address: "127.0.0.1",
  port: 0,
  peer: { address: "127.0.0.1", port },
  firstSlot: 0,
  batch: BATCH,
  buffer: 4 << 20,
});

function fill(count: number): void {
  const now = performance.now();
  for (let index = 0; index < count; index++) ask(BATCH + index, socket.index, now);
  arena.flush();
}

const lost = setInterval(() => {
  const now = performance.now();
  let count = 0;
  for (let one = 0; one < sentAt.length; one++) {
    if (sentAt[one] === 0 || now - sentAt[one]! < LOST_AFTER) continue;
    sentAt[one] = 0;
    count++;
  }
  if (measuring) unanswered += count;
  if (!paced) fill(Math.min(count, window));
}, 200);

/** Sends what is due, again and again; no timer is fine enough. */
function sendDue(began: number, sent: number): void {
  const now = performance.now();
  const due = Math.min(Math.floor(((now - began) * pace) / 1000) - sent, window);
  for (let index = 0; index < due; index++) {
    ask(BATCH + index, socket.index, began + ((sent + index + 1) * 1000) / pace);
  }
  if (due > 0) arena.flush();
  if (paced) setImmediate(sendDue, began, sent + Math.max(due, 0));
}

// Warm: every name once, so that what is measured is answered from the cache; new names, so that the server is.
fill(fresh ? window : Math.min(window, names));
const warmSince = performance.now();
const warm = setInterval(() => {
  const waited = performance.now() - warmSince;
  if (fresh ? answered < FRESH_WARMUP && waited < LONGEST_WARMUP : answered < names * 2) return;
  clearInterval(warm);
  measuring = true;
  const before = answered;
  const began = performance.now();
  if (pace > 0) {
    paced = true;
    sendDue(began, 0);
  }
  setTimeout(() => {
    const elapsed = (performance.now() - began) / 1000;
    paced = false;
    const rate = (answered - before) / elapsed;
    const sorted = latencies.subarray(0, measured).sort();
    const microseconds = (share: number): number =>
      Math.round((sorted[Math.min(Math.floor(measured * share), measured - 1)] ?? 0) * 1000);
    const latency = { p50: microseconds(0.5), p99: microseconds(0.99), most: microseconds(1) };
    process.stdout.write(`${JSON.stringify({ rate, ...latency, unanswered, answered })}\n`);
    clearInterval(lost);
    arena.close();
  }, seconds * 1000);
}, 10);
