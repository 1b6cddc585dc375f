/** One file for both roles: on the host that it comes from and in a frame it is the widget, else it is a page's. */

import { isFramed, ownScript, toUrl } from "./browser.ts";
import { startPage } from "./page.ts";
import { startWidget } from "./widget.ts";

const script = ownScript();
const source = toUrl(script?.src ?? "");
if (!script || !source) console.error("psicash: load it with <script src=\"https://.../v2/psicash.js\">");
else if (isFramed() && source.host === location.host) startWidget();
// A second tag changes nothing.
else if (!window._psicash) startPage(source, script);
