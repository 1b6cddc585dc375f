/** Landing pages of the tests. */

import type { Params } from "../../src/core/payload.ts";
import { TANK } from "./origin.ts";
import { carrying, type Stored, type World } from "./world.ts";

/** What the clock of every landing page shows. */
export const NOW = Date.parse("2026-11-30T12:00:00.000Z");

export interface Landing {
  /** Runs before the script of the service. */
  before?: string;
  /** What the page does, with `kit`; its value is in the report. Asks for a reward, if nothing else is said. */
  does?: string;
  /** Attributes of the script's element, and what follows its address. */
  attributes?: string;
  query?: string;
  stored?: Stored;
  inAddress?: Params | undefined;
  mark?: string;
  /** Elements of its head. */
  head?: string;
  /** The host of the service. With the built one the clock is real. */
  service?: string;
}

export interface Report {
  done: { outcome: [string | null, boolean, string]; ms: number };
  page: Record<string, string>;
  widget: Record<string, string>;
  address: string;
  params: Params | undefined;
}

/** Opens a landing page on `host`. */
export async function land<R = Report>(world: World, host: string, landing: Landing): Promise<R> {
  const { before = "", does = 'return kit.call("page-view")', attributes = "", query = "", stored = {}, inAddress, mark = "?", head = "", service = TANK } = landing;
  const tank = world.origin.at(service);
  const id = host.split(".")[0]!;
  world.origin.page(
    id,
    `<!doctype html><html lang="en"><meta charset="utf-8"><title>Landing page</title>${head}<body><script src="/kit.js"></script>
<script>${service === TANK ? `Date.now = () => ${NOW};` : ""} ${before}</script>
<script src="${tank}/v2/psicash.js${query}" ${attributes}></script>
<script>(async () => {
  let done;
  try { done = await (async () => { ${does} })(); } catch (error) { done = { threw: String(error) }; }
  let page = {};
  try { page = kit.dump(); } catch {}
  const params = window._psicash?.params();
  await kit.report({ done, page, widget: await kit.widgetStorage("${tank}"), address: location.href, params });
})();</script></body></html>`,
  );
  const address = carrying(`${world.origin.at(host)}/${id}/`, inAddress, mark);
  return world.visit<R>(id, stored.page === undefined && stored.widget === undefined ? address : world.seeded(host, id, stored, address));
}
