/**
 * Compiles the list FILE once, as an update does it: in a process of its own, which has done nothing before. Prints the
 * milliseconds that it took, from the bytes of the list to the bytes of the artefact.
 */
import { readFileSync } from "node:fs";
import { build } from "./feeds.ts";

const body = readFileSync(process.argv[2] ?? "/dev/stdin");
const began = performance.now();
build(body);
process.stdout.write(`${performance.now() - began}\n`);
