/** A model's entries as one writes them to `models forget`, and what two models do not share. Pure. */
import type { ModelDetail } from "../types.ts";

/** `name`, `*.parent`, `443/tcp`, `listen:8080/tcp`, `10.0.0.0/24:5432/tcp`. */
export function entryTexts({ entries }: ModelDetail): string[] {
  return [
    ...entries.names.map(({ name }) => name),
    ...entries.outboundPorts.map(portText),
    ...entries.listeningPorts.map((one) => `listen:${portText(one)}`),
    ...entries.internalDestinations.map((one) => `${one.subnet}:${portText(one)}`),
  ];
}

export function portText({ port, protocol }: { readonly port: number; readonly protocol: string }): string {
  return `${port}/${protocol}`;
}

/** In each model's own order. An entry that a wildcard of the other model covers is still one of its own. */
export function difference(
  a: ModelDetail,
  b: ModelDetail,
): { readonly onlyA: readonly string[]; readonly onlyB: readonly string[] } {
  const [textsA, textsB] = [entryTexts(a), entryTexts(b)];
  const [setA, setB] = [new Set(textsA), new Set(textsB)];
  return {
    onlyA: textsA.filter((text) => !setB.has(text)),
    onlyB: textsB.filter((text) => !setA.has(text)),
  };
}
