/** The addon on the real kernel: what only real sockets have. */
import t from "tap";
import { testInside } from "./namespace.ts";

await testInside(t, "sockets");
