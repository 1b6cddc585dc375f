import { triedIn } from "./suite.ts";

triedIn("firefox");
