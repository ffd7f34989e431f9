/** The host that this runs on. */
import { createSocket } from "node:dgram";
import { accessSync, constants, existsSync, readFileSync, statfsSync } from "node:fs";
import { request } from "node:http";
import { dirname } from "node:path";
import { systemCode } from "../errors.ts";
import { inspectKernel } from "../packet/kernel.ts";
import { run } from "../run.ts";
import type { EngineAnswer, Host } from "./patient.ts";

/** Milliseconds that an upstream and an engine have to answer. */
const ASK_DEADLINE = 3000;
const ENGINE_DEADLINE = 5000;
/** Of an engine's answer; more is no engine's. */
const MAX_ANSWER = 16 << 20;

/** `random`: from 0 to 1. */
export function systemHost(random: () => number): Host {
  return {
    run,
    user: process.geteuid?.() ?? 0,
    now: Date.now,
    read(path) {
      try {
        return readFileSync(path, "utf8");
      } catch {
        // Absence is an answer here, whatever its reason.
        return null;
      }
    },
    kernelShortcomings: () => inspectKernel(),
    engine,
    ask: (server) => ask(server, Math.floor(random() * 0x10000)),
    space(path) {
      let place = path;
      while (!existsSync(place) && dirname(place) !== place) place = dirname(place);
      try {
        const { bavail, blocks, bsize } = statfsSync(place);
        return { free: bavail * bsize, total: blocks * bsize };
      } catch {
        // A file system that does not tell is none that can be judged.
        return null;
      }
    },
    access(path) {
      try {
        accessSync(path, constants.W_OK);
        return "writable";
      } catch (error) {
        return systemCode(error) === "ENOENT" ? "absent" : "refused";
      }
    },
  };
}

function engine(socket: string, path: string): Promise<EngineAnswer> {
  return new Promise((resolve) => {
    const fail = (error: Error): void => resolve({ error: systemCode(error) || error.message });
    const asked = request(
      { socketPath: socket, path, agent: false, headers: { host: "engine" } },
      (response) => {
        let text = "";
        response.setEncoding("utf8");
        response.on("data", (part: string) => {
          text += part;
          if (text.length > MAX_ANSWER) asked.destroy(new Error("its answer does not end"));
        });
        response.on("end", () => {
          if (response.statusCode === 200) resolve(parsed(text));
          else resolve({ error: `it answers with status ${response.statusCode}` });
        });
        response.on("error", fail);
      },
    );
    asked.setTimeout(ENGINE_DEADLINE, () => asked.destroy(new Error("it is silent")));
    asked.on("error", fail);
    asked.end();
  });
}

function parsed(text: string): EngineAnswer {
  try {
    return { value: JSON.parse(text) as unknown };
  } catch {
    return { error: "what answers there is no container engine" };
  }
}

/** A recursive query for NS of the root (RFC 1035, section 4): every resolver has an answer to it. */
function ask(
  server: { readonly address: string; readonly port: number },
  id: number,
): Promise<string | null> {
  const query = Uint8Array.of(id >> 8, id & 255, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1);
  return new Promise((resolve) => {
    const socket = createSocket(server.address.includes(":") ? "udp6" : "udp4");
    const end = (why: string | null): void => {
      clearTimeout(timer);
      socket.close();
      resolve(why);
    };
    const timer = setTimeout(() => end(`silent for ${ASK_DEADLINE / 1000} s`), ASK_DEADLINE);
    socket.on("error", (error) => end(systemCode(error) || error.message));
    socket.on("message", (answer) => {
      if (answer.length >= 12 && answer.readUInt16BE(0) === id) end(null);
    });
    socket.connect(server.port, server.address, () => socket.send(query));
  });
}
