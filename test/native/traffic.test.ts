/** The addon on the real kernel: much traffic, full queues, full buffers. */
import t from "tap";
import { testInside } from "./namespace.ts";

await testInside(t, "traffic");
