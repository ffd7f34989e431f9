/** What record types are called in findings. */

/** IANA, "Domain Name System (DNS) Parameters", resource record types. */
const NAMES: Readonly<Record<number, string>> = {
  1: "A",
  2: "NS",
  5: "CNAME",
  6: "SOA",
  10: "NULL",
  12: "PTR",
  15: "MX",
  16: "TXT",
  25: "KEY",
  28: "AAAA",
  33: "SRV",
  35: "NAPTR",
  43: "DS",
  48: "DNSKEY",
  64: "SVCB",
  65: "HTTPS",
  255: "ANY",
};

/** As RFC 3597, section 5 writes a type that has no name here: `TYPE65399`. */
export function recordType(type: number): string {
  return NAMES[type] ?? `TYPE${type}`;
}
