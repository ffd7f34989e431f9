/**
 * unbound.conf(5): `local-zone: "name" TYPE` names a domain and everything below it; the types that refuse are entries, and
 * those that let through (`transparent`, `typetransparent`, `always_transparent`) take the domain out again, where the
 * closest of zones speaks. `local-data: "name A 0.0.0.0"` is that name alone. All other settings are refused.
 */
import { type ListFormat, share } from "./format.ts";
import { isNowhere } from "./nowhere.ts";

const HASH = new Set([35]);
const ZONE = /^local-zone:\s*(["']?)([^\s"']+)\1\s+["']?([a-z_]+)["']?(?:\s+#.*)?$/i;
const DATA = /^local-data:\s*(["'])([^\s"']+)\s+(?:\d+\s+)?(?:in\s+)?(\w+)\s+([^\s"'][^"']*)\1(?:\s+#.*)?$/i;
const REFUSING =
  /^(?:deny|refuse|static|redirect|inform_deny|inform_redirect|always_(?:refuse|nxdomain|nodata|deny|null)|block_aaaa?)$/i;
const OPEN = /^(?:transparent|typetransparent|always_transparent|inform|nodefault)$/i;

export const unbound: ListFormat = {
  name: "unbound",
  match: "suffix",
  score: ({ lines }) => share(lines, /^(?:local-(?:zone|data):\s*["']?\S|server:)/i),
  read(body, out) {
    let zone = "";
    out.readTextLines(body, HASH, (text) => {
      if (/^server:(?:\s+#.*)?$/i.test(text)) return null;
      const [, , name, type = ""] = ZONE.exec(text) ?? [];
      if (name !== undefined) {
        zone = name.toLowerCase();
        const bytes = Buffer.from(name, "latin1");
        if (REFUSING.test(type)) return out.add(bytes, 0, bytes.length);
        if (!OPEN.test(type)) return "a zone of an unknown type";
        return out.except(bytes, 0, bytes.length, { reach: "both", strong: false });
      }
      const [, , owner, record = "", data = ""] = DATA.exec(text) ?? [];
      if (owner === undefined) return "no `local-zone` or `local-data`";
      // What a zone of type `redirect` answers with belongs to the zone before it.
      if (owner.toLowerCase() === zone) return null;
      if (!/^a(?:aaa)?$/i.test(record) || !isNowhere(data.trim())) return "data that leads somewhere";
      const bytes = Buffer.from(owner, "latin1");
      return out.add(bytes, 0, bytes.length, "whole");
    });
  },
};
