/** The browser's own way; the build takes one of them. */
import { proxyControl as chromium } from "./chromium.ts";
import { proxyControl as firefox } from "./firefox.ts";

export const proxyControl = FIREFOX ? firefox : chromium;
