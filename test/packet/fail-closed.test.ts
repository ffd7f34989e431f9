import { testFailMode } from "./fail-mode.ts";

testFailMode("closed");
