/** Which of two packages wins. The winner is taken whole: nothing is merged. */

import type { Params } from "./payload.ts";

/** A package in an address counts for less than this, in milliseconds. */
export const MOST_AGE_MS = 60_000;

const ISO_UTC = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?Z$/;

/** A point in time: whole milliseconds, then the digits of what is finer. */
interface Instant {
  ms: number;
  finer: string;
}

/** The instant of an ISO 8601 time in UTC, with a fraction of any length. */
export function instant(timestamp: string | null | undefined): Instant | undefined {
  const [, seconds, fraction = ""] = ISO_UTC.exec(timestamp ?? "") ?? [];
  if (seconds === undefined) return undefined;
  const ms = Date.parse(`${seconds}.${fraction.slice(0, 3).padEnd(3, "0")}Z`);
  // Browsers differ about the 30th of February.
  if (Number.isNaN(ms) || !new Date(ms).toISOString().startsWith(seconds)) return undefined;
  return { ms, finer: fraction.slice(3).replace(/0+$/, "") };
}

/** A package without a timestamp is good; one with a timestamp that cannot be read is not. */
export function isReadable({ timestamp }: Params): boolean {
  return timestamp === undefined || timestamp === null || instant(timestamp) !== undefined;
}

/** A package from an address of ours, at `wall` milliseconds. Too old, from the future or unreadable: nothing. */
export function admit(params: Params | undefined, wall: number): Params | undefined {
  if (!params || !isReadable(params)) return undefined;
  const written = instant(params.timestamp);
  if (!written) return params;
  const age = wall - written.ms;
  return age >= 0 && age < MOST_AGE_MS ? params : undefined;
}

/** `outer` is nearer to the app: the address before the page's storage, the page before the widget's. It wins ties. */
export function choose(outer: Params | undefined, inner: Params | undefined): Params | undefined {
  if (!outer || !inner) return outer ?? inner;
  const [ours, theirs] = [instant(outer.timestamp), instant(inner.timestamp)];
  // Signed out at a known time beats tokens of no known time.
  if (ours && theirs) return isBefore(ours, theirs) ? inner : outer;
  if (ours || theirs) return ours ? outer : inner;
  return !outer.tokens && inner.tokens ? inner : outer;
}

function isBefore(one: Instant, other: Instant): boolean {
  return one.ms === other.ms ? one.finer < other.finer : one.ms < other.ms;
}
