/** Comma-separated values (RFC 4180), one record a line. */

/**
 * The fields of a line. Blanks around a field do not count, as a quote may stand behind `, `; inside of quotes `""` is a
 * quote. Null for a quote that does not end on the line, or ends before its field does.
 */
export function csvFields(line: string): string[] | null {
  const fields: string[] = [];
  for (let at = 0; ; at++) {
    while (line[at] === " " || line[at] === "\t") at++;
    if (line[at] !== '"') {
      const comma = line.indexOf(",", at);
      const end = comma < 0 ? line.length : comma;
      fields.push(line.slice(at, end).trimEnd());
      if (comma < 0) return fields;
      at = end;
      continue;
    }
    let text = "";
    let from = at + 1;
    for (;;) {
      const quote = line.indexOf('"', from);
      if (quote < 0) return null;
      text += line.slice(from, quote);
      from = quote + 1;
      if (line[from] !== '"') break;
      text += '"';
      from++;
    }
    while (line[from] === " " || line[from] === "\t") from++;
    fields.push(text);
    if (from >= line.length) return fields;
    if (line[from] !== ",") return null;
    at = from;
  }
}
