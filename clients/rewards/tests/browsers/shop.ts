/** Shops of the tests. */

import type { Params } from "../../src/core/payload.ts";
import { NOW } from "./landing.ts";
import { TANK } from "./origin.ts";
import { carrying, type Stored, type World } from "./world.ts";

export type Referrer = "none" | "store" | "other";

export interface Shop {
  referrer: Referrer;
  stored?: Stored["page"];
  inAddress?: Params | undefined;
  /** What comes after the host. */
  path?: string;
  before?: string;
  /** What the shop does once its page is open or closed for good; its value is in the report. */
  does?: string;
  attributes?: string;
  query?: string;
  body?: string;
  /** The host of the service. With the built one the clock is real. */
  service?: string;
}

export interface Report {
  done: unknown;
  page: Record<string, string>;
  address: string;
  /** Why the page stays covered, or null if it is open. */
  refusal: string | null;
  /** The form's field, if it has one. */
  field: string | null;
  link: string;
  canReach: boolean;
}

export const BODY = `<a id="link" href="/products/one?variant=7#reviews">One</a>
<form id="add" method="post" action="/de/cart/add"><input name="id" value="7"><button>Add</button></form>`;

export async function enter<R = Report>(world: World, host: string, shop: Shop): Promise<R> {
  const { referrer, stored, inAddress, path = "", before = "", does = "", attributes = "", query = "", body = BODY, service = TANK } = shop;
  const id = host.split(".")[0]!;
  world.origin.page(
    id,
    `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Shop</title><script src="/kit.js"></script>
<script>${service === TANK ? `Date.now = () => ${NOW};` : ""} ${before}</script>
<script src="${world.origin.at(service)}/shopify-psicash.js${query}" defer ${attributes}></script></head><body><main>${body}</main>
<script>addEventListener("DOMContentLoaded", async () => {
  const cover = () => document.getElementById("psicash-page-blocker");
  const isOver = () => !cover() || cover().classList.contains("psicash-page-blocker-error");
  await kit.until(isOver);
  if (!isOver()) return kit.report({ refusal: "still covered" });
  const link = () => document.getElementById("link");
  const field = document.querySelector("#add [name='properties[_psicash]']");
  let done;
  try { done = await (async () => { ${does} })(); } catch (error) { done = { threw: String(error) }; }
  let page = {};
  try { page = kit.dump(); } catch {}
  link()?.focus();
  await kit.report({ done, page, address: location.href, refusal: cover()?.textContent ?? null, field: field?.value ?? null, link: link()?.href,
    canReach: document.activeElement === link() });
});</script></body></html>`,
  );
  const address = carrying(`${world.origin.at(host)}/${id}/${path}`, inAddress);
  if (referrer === "none" && stored === undefined) return world.visit<R>(id, address);
  if (referrer !== "other") return world.visit<R>(id, world.seeded(host, id, { page: stored! }, address, referrer === "none" ? "no-referrer" : "same-origin"));
  // The shop fills its storage, another site leads back to it.
  world.origin.page(`${id}-other`, `<!doctype html><script>location.replace(${JSON.stringify(address)})</script>`);
  return world.visit<R>(id, world.seeded(host, id, { page: stored! }, `${world.origin.at("other.test")}/${id}-other/`));
}
