/** The addon on the real kernel: threads and processes that end in every way. */
import t from "tap";
import { testInside } from "./namespace.ts";

await testInside(t, "threads");
