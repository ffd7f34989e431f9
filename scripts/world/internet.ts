/**
 * The servers of the sealed world's Internet: unbound over a root zone of our own (a real recursive resolver, so that
 * CNAME chains arrive whole and negative answers carry a SOA), busybox web servers, and an echo server.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DNS2TCP, INTERNET, IODINE, type Namespace } from "./network.ts";
import { execute, until } from "./process.ts";

const MANY = Array.from({ length: 24 }, (_, index) => `many.example. 60 IN A 203.0.113.${100 + index}`);
const LONG_TEXT = Array.from(
  { length: 12 },
  (_, index) => `"${String(index).padStart(2, "0")}${"x".repeat(250)}"`,
);

const TUNNELS = [...Object.values(IODINE), DNS2TCP].flatMap(({ domain, address }) => [
  `${domain}. 300 IN NS ns.${domain}.`,
  `ns.${domain}. 300 IN A ${address}`,
]);

/** The names there are; what is not here is NXDOMAIN. */
export const ROOT_ZONE = `
. 3600 IN SOA a.root. admin.root. 1 3600 600 86400 60
. 3600 IN NS a.root.
a.root. 3600 IN A ${INTERNET.resolver}

good.example. 300 IN A ${INTERNET.good}
good.example. 300 IN AAAA ${INTERNET.good6}
www.good.example. 300 IN CNAME good.example.
four.example. 300 IN A ${INTERNET.good}
six.example. 300 IN AAAA ${INTERNET.good6}
other.example. 300 IN A ${INTERNET.other}
*.wild.example. 300 IN A ${INTERNET.good}
short.example. 1 IN A ${INTERNET.good}
${MANY.join("\n")}
big.example. 60 IN TXT ${LONG_TEXT.join(" ")}
text.example. 60 IN TXT "hello"
whoami.example. 60 IN TXT "${INTERNET.resolver}"

; what the lab's feeds list, and names that lead there
evil.example. 300 IN A ${INTERNET.evil}
evil.example. 300 IN AAAA ${INTERNET.evil6}
c2.evil.example. 300 IN A ${INTERNET.evil}
chain.example. 300 IN CNAME hop.example.
hop.example. 300 IN CNAME evil.example.
; for policies
denied.example. 300 IN A ${INTERNET.denied}
denied.example. 300 IN AAAA ${INTERNET.denied6}
to-denied.example. 300 IN CNAME denied.example.
*.burst.example. 300 IN A ${INTERNET.good}
; a public name with a private address
rebind.example. 300 IN A 10.0.0.5
; addresses that travel as hints (RFC 9460)
hint.example. 300 IN HTTPS 1 . alpn=h2 ipv4hint=${INTERNET.denied}
; a zone whose server never answers
lame.example. 300 IN NS ns.lame.example.
ns.lame.example. 300 IN A ${INTERNET.silent}
; what the servers of tunnels answer for
${TUNNELS.join("\n")}
`;

function unboundConfiguration(directory: string): string {
  return `
server:
  directory: "${directory}"
  chroot: ""
  username: ""
  pidfile: ""
  do-daemonize: no
  use-syslog: no
  logfile: ""
  log-queries: yes
  verbosity: 1
  num-threads: 1
  module-config: "iterator"
  interface: ${INTERNET.resolver}
  interface: ${INTERNET.resolver6}
  interface: ${INTERNET.publicResolver}
  interface-view: ${INTERNET.publicResolver} other
  interface-action: ${INTERNET.resolver} allow
  interface-action: ${INTERNET.resolver6} allow
  interface-action: ${INTERNET.publicResolver} allow
  max-udp-size: 1232
  qname-minimisation: no
view:
  name: other
  view-first: yes
  local-zone: whoami.example. transparent
  local-data: 'whoami.example. 60 IN TXT "${INTERNET.publicResolver}"'
remote-control:
  control-enable: no
auth-zone:
  name: "."
  zonefile: "root.zone"
  for-downstream: no
  for-upstream: yes
  fallback-enabled: no
`;
}

/** Starts all servers and waits until they answer. `directory` takes their files and logs. */
export async function startServers(internet: Namespace, directory: string): Promise<void> {
  const pages = join(directory, "pages");
  mkdirSync(pages, { recursive: true });
  writeFileSync(join(pages, "index.html"), "hello from the internet\n");
  writeFileSync(join(directory, "root.zone"), ROOT_ZONE);
  writeFileSync(join(directory, "unbound.conf"), unboundConfiguration(directory));
  internet.start("unbound", ["-c", join(directory, "unbound.conf")], join(directory, "unbound.log"));
  for (const port of ["80", "8080"]) {
    internet.start("busybox", ["httpd", "-f", "-p", port, "-h", pages], join(directory, "httpd.log"));
  }
  const echo = new URL("programs/echo.mts", import.meta.url).pathname;
  const echoed = [
    INTERNET.good,
    INTERNET.other,
    INTERNET.evil,
    INTERNET.denied,
    INTERNET.good6,
    INTERNET.denied6,
  ];
  internet.start(process.execPath, [echo, "7", ...echoed], join(directory, "echo.log"));
  await until("the lab's resolver answers", async () => {
    const question = [`@${INTERNET.resolver}`, "+short", "+time=1", "+tries=1", "good.example"];
    return (await internet.run("dig", question)).stdout.includes(INTERNET.good);
  });
  await until("the lab's web servers answer", () =>
    internet.run("busybox", ["wget", "-q", "-O", "/dev/null", `http://${INTERNET.good}:8080/`]),
  );
  await until("the lab's echo server answers", () =>
    internet.run(process.execPath, [
      new URL("programs/once.mts", import.meta.url).pathname,
      INTERNET.good,
      "7",
    ]),
  );
}

/** Names that the lab's resolvers were asked for so far, in order, as `NAME TYPE`; their logs are in `directory`. */
export function askedNames(directory: string): string[] {
  const log = readFileSync(join(directory, "unbound.log"), "utf8");
  // [1795503680] unbound[12:0] info: 198.51.100.2 good.example. A IN
  return [...log.matchAll(/ info: [0-9a-f.:]+ (\S+)\. (\S+) IN$/gm)].map(
    ([, name = "", type = ""]) => `${name} ${type}`,
  );
}

/** Whether the programs that `startServers` needs are there; the missing ones otherwise. */
export async function missingPrograms(names: readonly string[]): Promise<string[]> {
  const missing: string[] = [];
  for (const name of names) {
    const found = await execute("sh", ["-c", `command -v ${name}`], { anyStatus: true });
    if (found.status !== 0) missing.push(name);
  }
  return missing;
}
