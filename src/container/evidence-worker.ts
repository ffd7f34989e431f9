/** Reads what /proc tells of a container's processes and sockets, for evidence.ts, in a thread that may be held up. */
import { parentPort } from "node:worker_threads";
import { type EvidenceAnswer, type EvidenceQuestion, READY } from "./evidence.ts";
import { processesOf, readProcesses } from "./evidence-processes.ts";
import { readSockets } from "./evidence-sockets.ts";

parentPort?.on("message", ({ number, container, pid, time }: EvidenceQuestion) => {
  const end = performance.now() + time;
  const isLate = (): boolean => performance.now() > end;
  const pids = processesOf(pid, container, isLate);
  // Command lines last: they are what may hold us up.
  const sockets = readSockets(pid, pids, isLate);
  const processes = readProcesses(pids, isLate);
  const answer: EvidenceAnswer = {
    number,
    processes: processes.found,
    sockets: sockets.found,
    omitted: { processes: processes.omitted, sockets: sockets.omitted },
    complete: !isLate(),
  };
  parentPort?.postMessage(answer);
});

const omitted = { processes: 0, sockets: 0 };
parentPort?.postMessage({
  number: READY,
  processes: [],
  sockets: [],
  omitted,
  complete: true,
} satisfies EvidenceAnswer);
