/** Every row of the shop's table, opened by an app (no referrer) and from another page of the shop. */

import { expect, test } from "vitest";

import { encode, type Params } from "../../src/core/payload.ts";
import { BODY, enter, type Referrer } from "./shop.ts";
import { IN_ADDRESS, STORED } from "./widget_table.ts";
import { paramsIn, type World } from "./world.ts";

type After = "stored" | "address" | "refused";
type End = "open" | "launch" | "invalid";

export const TEXTS: Record<Exclude<End, "open">, RegExp> = { launch: /open this shop from the app/, invalid: /no longer valid/ };

/** Referrers, stored, in the address, what is kept after (`refused`: no tokens), and whether one can buy. */
const ROWS: [Referrer[], keyof typeof STORED, keyof typeof IN_ADDRESS, After, End][] = [
  [["none"], "none", "none", "stored", "launch"],
  [["none"], "no timestamp", "none", "stored", "launch"],
  [["none"], "good", "none", "stored", "launch"],
  [["none"], "invalid", "none", "stored", "launch"],
  [["other"], "none", "none", "stored", "launch"],
  [["other"], "good", "none", "stored", "launch"],
  [["other"], "none", "good", "stored", "launch"],
  [["other"], "good", "good, newer", "stored", "launch"],
  [["other"], "no timestamp", "invalid", "stored", "launch"],
  [["store"], "none", "none", "stored", "invalid"],
  [["none", "store"], "none", "good", "address", "open"],
  [["none"], "none", "old", "stored", "launch"],
  [["store"], "none", "old", "stored", "invalid"],
  [["none", "store"], "none", "no timestamp", "address", "open"],
  [["none", "store"], "none", "invalid", "refused", "invalid"],
  [["store"], "no timestamp", "none", "stored", "open"],
  [["none", "store"], "no timestamp", "identical, no timestamp", "stored", "open"],
  [["none", "store"], "no timestamp", "good", "address", "open"],
  [["none"], "no timestamp", "old", "stored", "launch"],
  [["store"], "no timestamp", "old", "stored", "open"],
  [["none", "store"], "no timestamp", "no timestamp", "address", "open"],
  [["none", "store"], "no timestamp", "invalid", "refused", "invalid"],
  [["store"], "good", "none", "stored", "open"],
  [["none", "store"], "good", "identical", "stored", "open"],
  [["none", "store"], "good", "same, newer", "address", "open"],
  [["none", "store"], "good", "same, older", "stored", "open"],
  [["none", "store"], "good", "good, newer", "address", "open"],
  [["none", "store"], "good", "good, older", "stored", "open"],
  [["none"], "good", "old", "stored", "launch"],
  [["store"], "good", "old", "stored", "open"],
  [["none", "store"], "good", "no timestamp", "stored", "open"],
  [["none", "store"], "good", "invalid, newer", "refused", "invalid"],
  [["none", "store"], "good", "invalid, older", "stored", "open"],
  [["store"], "invalid", "none", "refused", "invalid"],
  [["store"], "invalid", "old", "refused", "invalid"],
  [["store"], "invalid", "good, older", "refused", "invalid"],
  [["store"], "invalid", "no timestamp", "refused", "invalid"],
  [["none", "store"], "invalid", "good, newer", "address", "open"],
];
const CASES = ROWS.flatMap(([referrers, ...row]) => referrers.map((referrer) => [referrer, ...row] as const));

export function shopTable(world: World): void {
  test.concurrent.each(CASES)("referrer %s; stored: %s; in the address: %s", async (referrer, storedName, addressName, after, end) => {
    const [stored, inAddress] = [STORED[storedName], IN_ADDRESS[addressName]];
    const host = world.host();
    const report = await enter(world, host, { referrer, stored: stored!, inAddress, body: BODY });

    if (end === "open") expect(report.refusal).toBeNull();
    else expect(report.refusal).toMatch(TEXTS[end]);
    expect(report.canReach).toBe(end === "open");

    const winner: Params | undefined = { stored, address: inAddress, refused: addressName.startsWith("invalid") ? inAddress : stored }[after];
    const kept = after === "refused" ? { ...winner, tokens: null } : winner;
    expect(paramsIn(report.page)).toEqual(kept);

    const isAsked = end === "open" || after === "refused";
    expect(world.sent(host).map(({ path, tokens, status }) => [path, tokens, status])).toEqual(isAsked ? [["/v1/validate-tokens", winner!.tokens, 200]] : []);

    expect(report.field).toBe(end === "open" ? encode(winner!) : null);
    const link = `${world.origin.at(host)}/products/one?variant=7`;
    expect(report.link).toBe(end === "open" ? `${link}&psicash=${encodeURIComponent(encode(winner!))}#reviews` : `${link}#reviews`);
    // Who is sent away keeps the address, to try it again.
    if (end !== "launch") expect(report.address).not.toContain("psicash");
  });
}
