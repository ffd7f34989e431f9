/** Do the upstreams answer, and do all lookups come by us? */
import { nameserversOf, upstreamsOf } from "../../dns/resolvconf.ts";
import type { Check, Host, Patient } from "../patient.ts";
import { type Verdict, verdictsOf } from "../verdict.ts";

const { ok, warning, problem } = verdictsOf("lookups");

const ENGINE_CONFIG = "/etc/docker/daemon.json";

export const lookups: Check = async (patient) => {
  const { host, config } = patient;
  const verdicts = [...(await upstreams(patient)), ...pastUs(host)];
  if (!config.dns.redirect) {
    const message = "port 53 is not redirected: a lookup to any other resolver is a connection like others";
    verdicts.push(warning(message, "set `dns.redirect: true` to see it"));
  }
  return verdicts;
};

async function upstreams({ host, config }: Patient): Promise<readonly Verdict[]> {
  const servers = upstreamsOf(config.dns, (path) => {
    const text = host.read(path);
    if (text === null) throw Object.assign(new Error(path), { code: "ENOENT" });
    return text;
  });
  const answers = await Promise.all(servers.map((server) => host.ask(server)));
  const silent = servers.flatMap(({ address, port }, index) =>
    answers[index] === null ? [] : [`${address} port ${port} (${answers[index]})`],
  );
  if (silent.length === 0)
    return [ok(`upstreams answer: ${servers.map(({ address }) => address).join(", ")}`)];
  const remedy = "set `dns.upstreams`, or look at the network between";
  if (silent.length === servers.length)
    return [problem(`no upstream answers: ${silent.join(", ")}; containers can look up nothing`, remedy)];
  return [warning(`upstreams that do not answer: ${silent.join(", ")}`, remedy)];
}

/**
 * The engine's embedded resolver (127.0.0.11) asks from the container, but from the host where the host's own resolver is a
 * loopback address (libnetwork, resolver.go).
 */
function pastUs(host: Host): readonly Verdict[] {
  const loopback = nameserversOf(host.read("/etc/resolv.conf") ?? "").filter(
    (server) => server === "::1" || server.startsWith("127."),
  );
  if (loopback.length === 0) return [];
  if (/"dns"\s*:\s*\[\s*"/.test(host.read(ENGINE_CONFIG) ?? "")) return [];
  return [
    warning(
      `/etc/resolv.conf names ${loopback.join(", ")}: lookups of containers on user-defined networks may leave from the host, unseen`,
      `name another resolver in ${ENGINE_CONFIG}: { "dns": ["172.17.0.1"] }`,
    ),
  ];
}
