/** Replays the vectors. Runs in Node.js and, bundled, in pages. */

import { packageIn, withoutPackage } from "../src/core/address.ts";
import { admit, choose } from "../src/core/choose.ts";
import { isForPage } from "../src/core/distinguisher.ts";
import { decode, encode, ordered, type Params } from "../src/core/payload.ts";

export interface Vectors {
  encoded: { params: Params; text: string }[];
  decoded: { name: string; text: string; params: Params | null }[];
  addresses: { name: string; hash: string; search: string; params: Params | null; stripped_hash: string; stripped_search: string }[];
  ages: { name: string; timestamp: string | null; now: string; admitted: boolean }[];
  choices: { name: string; outer: Params | null; inner: Params | null; winner: "outer" | "inner" | null }[];
  distinguishers: { distinguisher: string; referrer: string; allowed: boolean }[];
}

/** How many were replayed, and what came out otherwise than they say. */
export function replay(vectors: Vectors): { count: number; wrong: string[] } {
  const wrong: string[] = [];
  let count = 0;
  const same = (name: string, found: unknown, expected: unknown): void => {
    count++;
    const [is, shall] = [found, expected].map((value) => JSON.stringify(value ?? null));
    if (is !== shall) wrong.push(`${name}: ${is}, and not ${shall}`);
  };
  const plain = (params: Params | null | undefined): object | null => (params ? ordered(params) : null);

  for (const { params, text } of vectors.encoded) {
    same(`encode ${text}`, encode(params), text);
    same(`decode ${text}`, plain(decode(text)), plain(params));
  }
  for (const { name, text, params } of vectors.decoded) same(`decode: ${name}`, plain(decode(text)), plain(params));
  for (const { name, hash, search, params, stripped_hash, stripped_search } of vectors.addresses) {
    same(`address: ${name}`, plain(packageIn({ hash, search })), plain(params));
    const stripped = withoutPackage(new URL(`https://a.example/p${search}${hash}`)).href;
    same(`stripped: ${name}`, stripped, `https://a.example/p${stripped_search}${stripped_hash}`);
  }
  for (const { name, timestamp, now, admitted } of vectors.ages) {
    same(`age: ${name}`, admit({ timestamp, tokens: "t" }, Date.parse(now)) !== undefined, admitted);
  }
  for (const { name, outer, inner, winner } of vectors.choices) {
    const chosen = choose(outer ?? undefined, inner ?? undefined);
    same(`choice: ${name}`, chosen && (chosen === outer ? "outer" : "inner"), winner);
  }
  for (const { distinguisher, referrer, allowed } of vectors.distinguishers) {
    same(`distinguisher ${distinguisher} on ${referrer}`, isForPage(distinguisher, new URL(referrer)), allowed);
  }
  return { count, wrong };
}
