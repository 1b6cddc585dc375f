/** Where a package stands in an address: in the hash, else in the query. */

import { type Params, decode } from "./payload.ts";

export const PARAMETER = "psicash";

const PLACES = { hash: /(?:^#!?|[?&])psicash=([^&]*)/, search: /(?:^\?|&)psicash=([^&]*)/ };
const EVERYWHERE = /(^#!?|[?&])psicash=[^&]*(&|$)/;

/** Only a value that is empty or badly escaped lets the query have its turn; one that is no package does not. */
export function packageIn(address: { hash: string; search: string }): Params | undefined {
  for (const place of ["hash", "search"] as const) {
    const value = PLACES[place].exec(address[place])?.[1];
    if (!value) continue;
    try {
      return decode(decodeURIComponent(value));
    } catch {
      // A bad escape: as if it were not there.
    }
  }
  return undefined;
}

/** The address without the parameter, wherever it stood. All else stays as it was written. */
export function withoutPackage(address: URL): URL {
  const stripped = new URL(address.href);
  const { hash, search } = stripped;
  const [bare, query] = [strip(hash), strip(search)];
  if (query !== search) stripped.search = query;
  if (bare !== hash) stripped.hash = /^#!?$/.test(bare) ? "" : bare;
  return stripped;
}

/** The address with the package in its query, in place of any that it had there. */
export function withPackage(address: URL, encoded: string): URL {
  const carrying = new URL(address.href);
  const query = strip(carrying.search);
  carrying.search = `${query}${query.length > 1 ? "&" : "?"}${PARAMETER}=${encodeURIComponent(encoded)}`;
  return carrying;
}

function strip(text: string): string {
  const shorter = text.replace(EVERYWHERE, (_, before: string, after: string) => (after || before.startsWith("#") ? before : ""));
  return shorter === text ? text : strip(shorter);
}
