/** Connections to servers of lists: how names are resolved, who is trusted, and through which proxy. */
import { X509Certificate } from "node:crypto";
import { promises as dns, lookup as systemLookup } from "node:dns";
import { readFileSync } from "node:fs";
import { isIP, type LookupFunction } from "node:net";
import { rootCertificates } from "node:tls";
import { Agent, type Dispatcher, ProxyAgent } from "undici";
import { systemCode } from "../../errors.ts";
import { FetchFailure } from "./failure.ts";
import { type Environment, proxyFor } from "./proxy.ts";
import { type Depth, depthOf, depthOfHost, INTERNET, LINK } from "./reach.ts";

/** Milliseconds for a connection with its TLS handshake. */
const CONNECT = 15_000;
/** Milliseconds until a server of names is asked again, and how often it is asked. */
const RESOLVE = { timeout: 3000, tries: 2 };

export interface NetworkOptions {
  readonly environment: Environment;
  /** `address`, `address:port` or `[address]:port`; none: names are resolved as the system does. */
  readonly servers: readonly string[];
}

export class Network {
  readonly #options: NetworkOptions;
  readonly #resolver: dns.Resolver | null;
  /** By proxy, file of certificates and reach. */
  readonly #dispatchers = new Map<string, Dispatcher>();
  /** Of names, as they were resolved; the outermost address counts. */
  readonly #depths = new Map<string, Depth>();

  constructor(options: NetworkOptions) {
    this.#options = options;
    this.#resolver = options.servers.length > 0 ? new dns.Resolver(RESOLVE) : null;
    this.#resolver?.setServers(options.servers);
  }

  /**
   * What `url` is asked with. `reach`: how far inside its host may lie; null for a URL of the operator, which may name
   * anything, only that no name of his leads to the link. Throws `FetchFailure` for a host that lies further inside, and for
   * a proxy or a file of certificates that cannot be used. What a proxy makes of a name is not known here.
   */
  dispatcher(url: URL, ca: string | undefined, reach: Depth | null): Dispatcher {
    const literal = depthOfHost(url.hostname);
    if (literal !== null && literal > (reach ?? LINK)) throw tooFar(url.hostname, url.hostname, reach);
    const proxy = proxyFor(url, this.#options.environment);
    const key = JSON.stringify([proxy, ca, reach]);
    let dispatcher = this.#dispatchers.get(key);
    if (dispatcher === undefined) {
      dispatcher = this.#connect(proxy, ca, reach);
      this.#dispatchers.set(key, dispatcher);
    }
    return dispatcher;
  }

  /** How far inside the host of a URL was found to lie. */
  depthOf(url: URL): Depth {
    return depthOfHost(url.hostname) ?? this.#depths.get(url.hostname) ?? INTERNET;
  }

  #connect(proxy: string | null, ca: string | undefined, reach: Depth | null): Dispatcher {
    const resolver = this.#resolver;
    const trust = ca === undefined ? {} : { ca: [...rootCertificates, readCertificates(ca)] };
    const lookup = resolver === null ? {} : { lookup: lookupWith(resolver) };
    // HTTP/2 is left out: lengths and early ends are checked in the terms of HTTP/1.1.
    const common = { allowH2: false, pipelining: 1, autoSelectFamily: true, connectTimeout: CONNECT };
    if (proxy === null) {
      const fenced = this.#fenced(resolver === null ? systemLookup : lookupWith(resolver), reach);
      return new Agent({ ...common, connect: { ...trust, lookup: fenced, timeout: CONNECT } });
    }
    if (!URL.canParse(proxy) || !/^https?:$/.test(new URL(proxy).protocol)) {
      throw new FetchFailure("the proxy that the environment names is no http or https URL");
    }
    return new ProxyAgent({
      ...common,
      uri: proxy,
      requestTls: { ...trust, timeout: CONNECT },
      proxyTls: { ...trust, ...lookup, timeout: CONNECT },
    });
  }

  /** `lookup` without the addresses that lie too far inside: of what is connected to, so that a name cannot change meanwhile. */
  #fenced(lookup: LookupFunction, reach: Depth | null): LookupFunction {
    return (name, options, callback) => {
      lookup(name, { ...options, all: true }, (error, found) => {
        if (error !== null || typeof found === "string") {
          callback(error, found);
          return;
        }
        const most = reach ?? LINK - 1;
        const [first, ...rest] = found.filter(({ address }) => depthOf(address) <= most);
        if (first === undefined) {
          callback(tooFar(name, found[0]?.address ?? "", reach), "", 0);
          return;
        }
        const depths = [first, ...rest].map(({ address }) => depthOf(address));
        this.#depths.set(name, Math.min(this.#depths.get(name) ?? LINK, ...depths) as Depth);
        if (options.all) callback(null, [first, ...rest]);
        else callback(null, first.address, first.family);
      });
    };
  }

  async close(): Promise<void> {
    this.#resolver?.cancel();
    await Promise.all([...this.#dispatchers.values()].map((dispatcher) => dispatcher.destroy()));
    this.#dispatchers.clear();
  }
}

function tooFar(host: string, address: string, reach: Depth | null): FetchFailure {
  const at = host === address ? `\`${host}\`` : `\`${host}\` (\`${address}\`)`;
  return new FetchFailure(
    reach === null
      ? `${at} is a link-local address, which no name may lead to`
      : `a redirect leads to ${at}, which is further inside than the server that sent us there; where it is meant, name it as \`url\``,
  );
}

/** Certificates in PEM form. Throws `FetchFailure` for a file that cannot be read, or has one that is none. */
export function readCertificates(file: string): string {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    throw new FetchFailure(`the file of certificates \`${file}\` cannot be read (${systemCode(error)})`);
  }
  const blocks = text.match(/-----BEGIN CERTIFICATE-----.*?(?:-----END CERTIFICATE-----|$)/gs) ?? [];
  if (blocks.length === 0 || !blocks.every(isCertificate)) {
    const what = blocks.length === 0 ? "no certificate in PEM form" : "a damaged certificate";
    throw new FetchFailure(`the file of certificates \`${file}\` has ${what}`);
  }
  return text;
}

function isCertificate(text: string): boolean {
  try {
    new X509Certificate(text);
    return true;
  } catch {
    return false;
  }
}

/** As dns.lookup, but by `resolver`: IPv6 and IPv4 are asked for at once, and one of them suffices. */
function lookupWith(resolver: dns.Resolver): LookupFunction {
  return (name, options, callback) => {
    const literal = isIP(name);
    const wanted = options.family === "IPv4" ? 4 : options.family === "IPv6" ? 6 : (options.family ?? 0);
    const ask = async (family: 4 | 6): Promise<{ address: string; family: number }[]> => {
      if (wanted !== 0 && wanted !== family) return [];
      const addresses = await (family === 4 ? resolver.resolve4(name) : resolver.resolve6(name));
      return addresses.map((address) => ({ address, family }));
    };
    const answers =
      literal > 0
        ? Promise.resolve([{ found: [{ address: name, family: literal }], error: null }])
        : Promise.all([6 as const, 4 as const].map((family) => settled(ask(family))));
    answers.then((both) => {
      const found = both.flatMap((one) => one.found);
      const [first] = found;
      if (first === undefined) {
        const error = both.find((one) => one.error !== null)?.error;
        callback(error ?? Object.assign(new Error("no address"), { code: "ENODATA" }), "", 0);
      } else if (options.all) callback(null, found);
      else callback(null, first.address, first.family);
    });
  };
}

async function settled<T>(
  answer: Promise<T[]>,
): Promise<{ readonly found: T[]; readonly error: Error | null }> {
  try {
    return { found: await answer, error: null };
  } catch (error) {
    return { found: [], error: error instanceof Error ? error : new Error(String(error)) };
  }
}
