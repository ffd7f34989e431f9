/**
 * A process that tests kill: does one thing to the generations of a folder, and dies right before the step of a given
 * number that changes something on the disk. `argv`: what, the folder, the number.
 */
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { readGeneration, swapGenerations, writeGeneration } from "../../src/feed/artefact.ts";

const [, , what, folder = "", number] = process.argv;
const { feeds } = readGeneration(folder)!;
let step = 0;

function mortal<Arguments extends unknown[], Result>(
  real: (...given: Arguments) => Result,
): (...given: Arguments) => Result {
  return (...given) => {
    step++;
    if (step === Number(number)) process.kill(process.pid, "SIGKILL");
    return real(...given);
  };
}

fs.openSync = mortal(fs.openSync);
fs.writevSync = mortal(fs.writevSync);
fs.fsyncSync = mortal(fs.fsyncSync);
fs.linkSync = mortal(fs.linkSync);
fs.renameSync = mortal(fs.renameSync);
fs.rmSync = mortal(fs.rmSync);
syncBuiltinESMExports();
if (what === "swap") swapGenerations(folder);
else writeGeneration(folder, { feeds, builtAt: 3, manifest: "" }, { replaces: what === "replace" });
