/** The process behind a command line: its streams, its environment, its exit status. What a command does not need is not loaded. */
import { resolve } from "node:path";
import { systemClock } from "./clock.ts";
import type { Context, FileReaders, Intelligence } from "./control/cli/context.ts";
import { Output } from "./control/cli/output.ts";
import { runProgram } from "./control/cli/program.ts";
import { EXIT } from "./errors.ts";

async function readers(): Promise<FileReaders> {
  const [
    { loadConfig },
    { parsePolicy, DEFAULT_POLICY },
    { importPrisma },
    { checkManifest },
    { SHIPPED_FEEDS },
  ] = await Promise.all([
    import("./config.ts"),
    import("./policy/parse.ts"),
    import("./policy/prisma/import.ts"),
    import("./feed/files.ts"),
    import("./settings.ts"),
  ]);
  return {
    config: loadConfig,
    policy: parsePolicy,
    prisma: importPrisma,
    feeds: (text, file, how) => checkManifest(text, file, { ...how, clock: systemClock }),
    defaultPolicy: DEFAULT_POLICY,
    shippedFeeds: SHIPPED_FEEDS,
  };
}

async function intelligence(): Promise<Intelligence> {
  const { updateHere, rollbackHere, approveHere, reportsHere, testHere } = await import("./intelligence.ts");
  return {
    update: updateHere,
    rollback: rollbackHere,
    approve: approveHere,
    reports: reportsHere,
    test: testHere,
  };
}

async function doctor(): ReturnType<Context["doctor"]> {
  const [{ examine }, { systemHost }] = await Promise.all([
    import("./doctor/doctor.ts"),
    import("./doctor/system-host.ts"),
  ]);
  return (patient) => examine({ ...patient, host: systemHost(Math.random) });
}

// A reader that has seen enough (`| head`) is no error: what is left has nobody to go to. Of all else (a full disk) the answer is
// not complete, which must not look like one.
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", ({ code, message }: NodeJS.ErrnoException) => {
    if (code === "EPIPE") process.exit();
    if (stream === process.stdout)
      process.stderr.write(`tidesman: the output cannot be written: ${message}\n`);
    process.exit(EXIT.usage);
  });
}

process.exitCode = await runProgram(process.argv.slice(2), {
  context: {
    output: new Output(process.stdout, process.env),
    complain: (text) => void process.stderr.write(text),
    now: Date.now,
    readers,
    intelligence,
    doctor,
    runDaemon: async (places) => (await import("./daemon.ts")).runDaemon(places),
  },
  print: (text) => void process.stdout.write(text),
  resolve: (path) => resolve(path),
  debug: process.env.TIDESMAN_DEBUG === "1",
});
