/** What the rules say, said again in another way: instants are rationals, and packages are ranked. */

import type { Params } from "../../src/core/payload.ts";

/** Attoseconds since 1970, or `undefined`. */
export function attoseconds(timestamp: string | null | undefined): bigint | undefined {
  const match = /^(\d+)-(\d+)-(\d+)T(\d+):(\d+):(\d+)(?:\.(\d+))?Z$/.exec(timestamp ?? "");
  if (!match) return undefined;
  const [year, month, day, hour, minute, second] = match.slice(1, 7).map(Number) as [number, number, number, number, number, number];
  let days = 0;
  for (let one = 1970; one < year; one++) days += isLeap(one) ? 366 : 365;
  const lengths = [31, isLeap(year) ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
  for (const length of lengths.slice(0, month - 1)) days += length;
  const seconds = (days + day - 1) * 86_400 + hour * 3_600 + minute * 60 + second;
  return BigInt(seconds) * 10n ** 18n + BigInt((match[7] ?? "").padEnd(18, "0").slice(0, 18));
}

const isLeap = (year: number): boolean => (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0;

/** Best first: with a time, the latest; then with tokens; then from outside. `order` is 0 for the outermost. */
export function best(packages: { params: Params; order: number }[]): Params | undefined {
  const ranked = packages.map(({ params, order }) => ({ params, order, at: attoseconds(params.timestamp) }));
  const timed = ranked.filter(({ at }) => at !== undefined).sort((a, b) => (a.at === b.at ? a.order - b.order : a.at! < b.at! ? 1 : -1));
  const untimed = ranked.filter(({ at }) => at === undefined).sort((a, b) => Number(!a.params.tokens) - Number(!b.params.tokens) || a.order - b.order);
  return (timed[0] ?? untimed[0])?.params;
}
