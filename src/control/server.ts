/** The control server: the API on the control socket. Who may connect to the socket may use it; there is no token. */
import { join } from "node:path";
import type { Clock } from "../clock.ts";
import type { Log } from "../log.ts";
import { buildApi } from "./api.ts";
import { listenAt } from "./socket.ts";
import type { ControlDependencies } from "./types.ts";
import { version } from "./version.ts";

export interface ControlOptions {
  readonly runtimeDirectory: string;
  /** Group that may use the socket (`config.control.group`); without such a group only the owner may. */
  readonly group: string;
  readonly dependencies: ControlDependencies;
  readonly clock: Clock;
  readonly log: Log;
}

export interface ControlServer {
  /** Path of the socket. */
  readonly path: string;
  /** Ends all connections and removes the socket. */
  close(): Promise<void>;
}

export const SOCKET_NAME = "control.sock";

/** Throws TM_ALREADY_RUNNING when another daemon listens there, TM_NOT_PERMITTED when the folder may not be written. */
export async function openControl(options: ControlOptions): Promise<ControlServer> {
  const { dependencies, clock, log } = options;
  const app = buildApi({
    dependencies,
    clock,
    version: version(),
    onError: (error, request) => log.error({ error, request }, "the control API failed to answer"),
  });
  await app.ready();
  const socket = await listenAt(app.server, join(options.runtimeDirectory, SOCKET_NAME), options.group);
  return {
    path: socket.path,
    async close() {
      socket.remove();
      const closed = new Promise<void>((resolve) => app.server.close(() => resolve()));
      app.server.closeAllConnections();
      await closed;
      await app.close();
    },
  };
}
