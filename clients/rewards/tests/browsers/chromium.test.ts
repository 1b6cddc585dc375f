import { triedIn } from "./suite.ts";

triedIn("chromium");
