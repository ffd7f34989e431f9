/** `tidesman check`: would the daemon start with these files, and with what? Needs no daemon. */
import { hostname } from "node:os";
import { join } from "node:path";
import type { Command } from "commander";
import type { Config } from "../../config.ts";
import { formatDuration } from "../moment.ts";
import { DEFAULT_PLACES } from "../places.ts";
import { type Attach, JSON_OPTION, type JsonOption } from "./context.ts";
import { checkConfig, checkFeeds, checkPolicy, statusOf, writeNotices, writeProblems } from "./examine.ts";
import { plural } from "./layout.ts";
import type { Fact } from "./output.ts";

export function define(program: Command, attach: Attach): void {
  const command = program
    .command("check")
    .description("check configuration, rules and feeds; needs no daemon")
    .option(...JSON_OPTION)
    .addHelpText(
      "after",
      "\nExit status 2 when there is an error, 4 when a file may not be read; notices\nand warnings are none.",
    );
  attach<JsonOption>(command, async ({ output, places, readers }, { json }) => {
    const read = await readers();
    const named = (key: keyof typeof DEFAULT_PLACES): boolean => places[key] !== DEFAULT_PLACES[key];
    const { config, ...configuration } = checkConfig(
      read,
      places.configFile,
      named("configFile"),
      hostname(),
    );
    const policy = checkPolicy(read, places.policyFile, named("policyFile"));
    const feeds = checkFeeds(read, places.feedsFile, {
      required: named("feedsFile"),
      bodies: join(places.stateDirectory, "feeds", "bodies"),
      environment: process.env,
    });
    const files = [configuration, policy, feeds];
    const errors = files.flatMap((file) => file.problems);
    if (json === true) output.json({ ok: errors.length === 0, files, places, config });
    else {
      output.facts([
        ...files.map((file): Fact => {
          return [file.kind, `${file.file}: ${file.summary}`, file.problems.length > 0 ? "red" : null];
        }),
        ["state", places.stateDirectory],
        ["control", places.runtimeDirectory],
        ...(config === null ? [] : settings(config)),
      ]);
      output.lines([""]);
      const notices = files.flatMap((file) => file.notices);
      writeNotices(output, notices);
      writeProblems(output, errors);
      const noted = notices.length === 0 ? "" : `, ${plural(notices.length, "notice")}`;
      output.text(errors.length === 0 ? `no errors${noted}` : `${plural(errors.length, "error")}${noted}`);
    }
    return statusOf(files);
  });
}

/** The settings an operator asks about first. */
function settings(config: Config): readonly Fact[] {
  const { dns, network, audits } = config;
  const upstreams = dns.upstreams.length === 0 ? `those of ${dns.resolvConf}` : dns.upstreams.join(" ");
  const days = formatDuration(audits.retention.age / 1000);
  return [
    ["host", config.host],
    ["fails", config.failMode],
    [
      "lookups",
      `port ${dns.port} (UDP and TCP), port 53 of containers ${dns.redirect ? "redirected to it" : "not redirected"}; upstreams: ${upstreams}; prevented: ${dns.preventResponse}`,
    ],
    [
      "packets",
      `queue ${network.queue}, mark bits 0x${network.markMask.toString(16)}, ${network.connectionRate} new connections a second and container`,
    ],
    ["runtime", `Docker at ${config.docker.socket}`],
    ["learning", formatDuration(config.models.learningTime / 1000)],
    [
      "audits",
      `alike ones within ${formatDuration(audits.window / 1000)} are one; kept ${days}, at most ${Math.round(audits.retention.size / 1e6)} MB`,
    ],
    ["log", config.log.level],
  ];
}
