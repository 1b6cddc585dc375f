/** Whether a page of the shop may be looked at: it was opened by the app with a package, or from another page of the shop. */

import type { Params } from "../core/payload.ts";

/** `inAddress` is a package that was admitted. Signed out counts: then the shop says that the tokens are not good. */
export function mayEnter(referrer: string, own: string, inAddress: Params | undefined): boolean {
  if (referrer === "") return inAddress !== undefined;
  try {
    return new URL(referrer).origin === own;
  } catch {
    return false;
  }
}
