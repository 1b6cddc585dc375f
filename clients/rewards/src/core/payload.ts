/**
 * The package that an app hands to a landing page or a shop: tokens, when they were handed out, and what else the app says.
 *
 * Written as base64 of JSON. Everything here comes from an address that anybody may have made: whatever it is, reading it
 * gives a package or `undefined`, and never throws.
 */

export interface Params {
  /** ISO 8601, UTC. */
  timestamp?: string | null;
  /** One earner token, or several joined by commas. `null`: signed out, or refused by the server. */
  tokens?: string | null;
  metadata?: Record<string, unknown>;
  dev?: boolean;
  debug?: boolean;
}

/** Characters of a package. It travels in a header too, and servers limit those. */
export const MOST_CHARACTERS = 8_192;
const MOST_LEVELS = 16;
const FALSE: unknown[] = [0, "0", false, "false", "", null];

/** Reads base64 (either alphabet, padded or not) or plain JSON. */
export function decode(text: string): Params | undefined {
  if (text.length > MOST_CHARACTERS) return undefined;
  try {
    return toParams(JSON.parse(/^[\w+/-]+={0,2}$/.test(text) ? fromBase64(text) : text));
  } catch {
    return undefined;
  }
}

/** Standard base64 without padding, of ASCII. */
export function encode(params: Params): string {
  return btoa(asciiJson(ordered(params))).replace(/=+$/, "");
}

/** Keeps the fields that are known and of the right kind. A timestamp of the wrong kind stays, as one that nobody can read. */
export function toParams(value: unknown): Params | undefined {
  if (!isObject(value)) return undefined;
  const { timestamp, tokens, metadata, dev, debug } = value;
  const params: Params = {};
  if (timestamp !== undefined) params.timestamp = timestamp === null || typeof timestamp === "string" ? timestamp : "";
  if (tokens === null || typeof tokens === "string") params.tokens = tokens;
  if (isObject(metadata)) {
    if (!isShallow(metadata, MOST_LEVELS)) return undefined;
    params.metadata = metadata;
  }
  if (dev !== undefined) params.dev = isOn(dev);
  if (debug !== undefined) params.debug = isOn(debug);
  return params;
}

/** The fields in the order in which they are written. */
export function ordered({ timestamp, tokens, metadata, dev, debug }: Params): object {
  return { timestamp, tokens, metadata, dev, debug };
}

/** JSON that may stand in a header and in base64: other characters are escaped. */
export function asciiJson(value: unknown): string {
  return JSON.stringify(value).replace(/[\x7f-\uffff]/g, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

export function isOn(flag: unknown): boolean {
  return !FALSE.includes(flag);
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isShallow(value: unknown, levels: number): boolean {
  if (typeof value !== "object" || value === null) return true;
  return levels > 0 && Object.values(value).every((inner) => isShallow(inner, levels - 1));
}

function fromBase64(text: string): string {
  const bytes = atob(text.replace(/=+$/, "").replace(/-/g, "+").replace(/_/g, "/"));
  return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Uint8Array.from(bytes, (byte) => byte.charCodeAt(0)));
}
