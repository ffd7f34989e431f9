/** A control server with scripted answers, for a look by hand: `serve.ts RUNTIME-DIR`. */
import { audit, Script, serve } from "./scripted.ts";

const script = new Script();
script.stored = Array.from({ length: 20_000 }, (_, index) => audit(index));
const { server } = await serve(process.argv[2] ?? "", script);
process.stdout.write(`${server.path}\n`);
