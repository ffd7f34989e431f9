/** The files of an operator as the daemon reads them when it starts. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { TidesmanError } from "../src/errors.ts";
import { configNews, readAll, readConfig } from "../src/settings.ts";

t.test("what is wrong with any of the files is told at once", async (t) => {
  const folder = t.testdir({
    "tidesman.yaml": "host: h1\n",
    "policy.yaml": "version: 1\nrules: []\n",
    "feeds.yaml": "version: 1\nfeeds: []\n",
  });
  const file = (name: string): string => join(folder, name);
  const places = {
    configFile: file("tidesman.yaml"),
    policyFile: file("policy.yaml"),
    feedsFile: file("feeds.yaml"),
    stateDirectory: file("state"),
    runtimeDirectory: file("run"),
  };
  t.match(readAll(places), { host: "h1", failMode: "open" });

  writeFileSync(places.policyFile, "version: 2\nrules: []\n");
  t.throws(() => readAll(places), { code: "TM_POLICY", message: /^[^\n]*policy\.yaml:1:10: version[^\n]*$/ });
  writeFileSync(places.configFile, "failMode: ajar\ndsn: {}\n");
  writeFileSync(places.feedsFile, "version: 1\nfeeds: {}\n");
  const lines = (): readonly string[] => {
    try {
      readAll(places);
    } catch (error) {
      if (error instanceof TidesmanError && error.code === "TM_CONFIG") return error.message.split("\n");
      throw error;
    }
    return [];
  };
  t.match(lines(), [
    /tidesman\.yaml:1:11: failMode/,
    /tidesman\.yaml:2:1: dsn/,
    /policy\.yaml:1:10: version/,
    /feeds\.yaml:2:8: feeds/,
  ]);
  t.match(lines().length, 4);
  t.throws(() => readAll({ ...places, configFile: file("none.yaml") }), {
    code: "TM_CONFIG_MISSING",
    message: /none\.yaml.*policy\.yaml:1:10.*feeds\.yaml:2:8/s,
  });
});

t.test("a reload says when tidesman.yaml is not what runs", async (t) => {
  const folder = t.testdir({ "tidesman.yaml": "host: h1\n" });
  const configFile = join(folder, "tidesman.yaml");
  const places = { configFile, policyFile: "", feedsFile: "", stateDirectory: "", runtimeDirectory: "" };
  const running = readConfig(places);
  writeFileSync(configFile, "# the same in other words\nhost: 'h1'\ndns: {}\n");
  t.equal(configNews(places, running), null);
  writeFileSync(configFile, "host: h1\ndns: { preventResponse: refused }\n");
  t.match(configNews(places, running), /tidesman\.yaml` differs from what runs: .*restart the daemon/);
  writeFileSync(configFile, "host: h1\ndsn: {}\n");
  t.match(configNews(places, running), /^the running configuration stays: .*tidesman\.yaml:2:1: dsn/);
});
