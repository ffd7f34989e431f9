/**
 * dnsmasq.conf(5): `address=/name/` (also with `#`, or an address that leads nowhere), `local=/name/` and `server=/name/`
 * name a domain and everything below it that has no answer; several names may stand between slashes. `server=/name/#`
 * takes a domain out again: of an entry and an exception the closest speaks. Names with servers or addresses of their own
 * are refused, as are all other settings.
 */
import { type ListFormat, share } from "./format.ts";
import { beforeComment } from "./lines.ts";
import { isNowhere } from "./nowhere.ts";

const HASH = new Set([35]);
const LINE = /^(?:address|server|local)\s*=\s*((?:\/[^/\s#]+)+)\/([^\s/]*)$/;

export const dnsmasq: ListFormat = {
  name: "dnsmasq",
  match: "suffix",
  score: ({ lines }) => share(lines, /^(?:address|server|local)\s*=\s*\/[^/]+\//),
  read(body, out) {
    out.readTextLines(body, HASH, (text) => {
      const [, names = "", target = ""] = LINE.exec(beforeComment(text, "#")) ?? [];
      if (names === "") return "no `address=/name/`, `server=/name/` or `local=/name/`";
      const open = text.startsWith("server") && target === "#";
      if (!open && target !== "" && !(text.startsWith("address") && (target === "#" || isNowhere(target)))) {
        return "has a server or address of its own";
      }
      let refused: string | null = null;
      for (const name of names.split("/").slice(1)) {
        const bytes = Buffer.from(name, "latin1");
        const reason = open
          ? out.except(bytes, 0, bytes.length, { reach: "both", strong: false })
          : out.add(bytes, 0, bytes.length);
        refused ??= reason;
      }
      return refused;
    });
  },
};
