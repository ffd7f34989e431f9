/** What RR types are called. */

/** IANA, "Domain Name System (DNS) Parameters", resource record types. */
const TYPE_NAMES = new Map<number, string>(
  (
    "1 A,2 NS,3 MD,4 MF,5 CNAME,6 SOA,7 MB,8 MG,9 MR,10 NULL,11 WKS,12 PTR,13 HINFO,14 MINFO,15 MX,16 TXT,17 RP," +
    "18 AFSDB,24 SIG,25 KEY,28 AAAA,29 LOC,33 SRV,35 NAPTR,36 KX,37 CERT,39 DNAME,41 OPT,42 APL,43 DS,44 SSHFP," +
    "45 IPSECKEY,46 RRSIG,47 NSEC,48 DNSKEY,49 DHCID,50 NSEC3,51 NSEC3PARAM,52 TLSA,53 SMIMEA,55 HIP,59 CDS," +
    "60 CDNSKEY,61 OPENPGPKEY,62 CSYNC,63 ZONEMD,64 SVCB,65 HTTPS,99 SPF,249 TKEY,250 TSIG,251 IXFR,252 AXFR," +
    "253 MAILB,254 MAILA,255 ANY,256 URI,257 CAA"
  )
    .split(",")
    .map((pair) => {
      const [number = "", name = ""] = pair.split(" ");
      return [Number(number), name];
    }),
);

/** Mnemonic of an RR type; `TYPE65280` where there is none (RFC 3597). */
export function typeName(type: number): string {
  return TYPE_NAMES.get(type) ?? `TYPE${type}`;
}

const TYPE_NUMBERS: ReadonlyMap<string, number> = new Map(
  Array.from(TYPE_NAMES, ([number, name]) => [name, number]),
);

/** The reverse; null for what is no type. */
export function typeNumber(name: string): number | null {
  const known = TYPE_NUMBERS.get(name);
  if (known !== undefined) return known;
  const [, number] = /^TYPE(\d{1,5})$/.exec(name) ?? [];
  return number === undefined || Number(number) > 65_535 ? null : Number(number);
}
