/** The acts over HTTP: activate, renew, deactivate, and what the service tells clients of itself. Outcomes are values; nothing here throws. */

import { type Bytes, SESSION_ID_BYTES, SESSION_KEY_BYTES, fromBase64Url } from "./frame.ts";

const MOST_BYTES = 64 * 1024;

/** What the service answered to an activation, checked. Names as in docs/protocol.md, in camel case. */
export interface Activation {
  readonly token: string;
  readonly expiresInS: number;
  /** 16 bytes in base64url. */
  readonly sessionId: string;
  /** 32 bytes in base64url. A secret. */
  readonly heartbeatKey: string;
  readonly meterMs: number;
  readonly remainingS: number;
  readonly superseded: boolean;
  readonly heartbeat: {
    readonly intervalMs: number;
    readonly timeoutMs: number;
    /** An absolute URL. */
    readonly http: string;
    readonly webtransport?: string;
    readonly certHashes: readonly string[];
  };
}

/** Why a call did not succeed. Decide by `status` and `code`; texts are for people. */
export interface Failure {
  /** The status over HTTP; 0 when there was no answer, or none that could be read. */
  readonly status: number;
  /** The problem's code; `no_answer`, `bad_answer` or `http` where there is none. */
  readonly code: string;
  /** With `session_ended`: the end reason. */
  readonly reason?: string;
  /** With `stale_renewal`: meter time. */
  readonly meterMs?: number;
  readonly retryAfterS?: number;
}

export interface Renewal {
  readonly token: string;
  readonly remainingS: number;
}

export type Outcome<T> = { readonly ok: T } | { readonly failure: Failure };

export interface ApiOptions {
  /** Where the service is: HTTPS, or HTTP on the machine itself. */
  readonly service: string;
  readonly fetch?: typeof fetch;
  /** How long an answer may take. */
  readonly timeoutMs?: number;
}

export class Api {
  readonly #service: URL;
  readonly #fetch: typeof fetch;
  readonly #timeoutMs: number;

  /** Throws at a URL that secrets must not be sent to. */
  constructor({ service, fetch: ours, timeoutMs = 10_000 }: ApiOptions) {
    this.#service = serviceUrl(service);
    // A function of the global object may not be called on another one.
    this.#fetch = ours ?? ((input, init) => fetch(input, init));
    this.#timeoutMs = timeoutMs;
  }

  async activate(credential: string, name: string, audience?: string): Promise<Outcome<Activation>> {
    const url = this.#url("v1/activate");
    const headers = { "content-type": "application/json", "idempotency-key": name };
    const body = JSON.stringify(audience === undefined ? {} : { audience });
    return this.#call(url, credential, { method: "POST", headers, body }, (answer) => activationOf(answer, url));
  }

  async renew(token: string, frame: Bytes): Promise<Outcome<Renewal>> {
    const headers = { "content-type": "application/octet-stream" };
    return this.#call(this.#url("v1/renew"), token, { method: "POST", headers, body: frame }, renewalOf);
  }

  /** Ends the account's open session if it is this one; any, if none is named. */
  async deactivate(credential: string, sessionId?: string): Promise<Outcome<{ remainingS: number }>> {
    const headers = { "content-type": "application/json" };
    const body = JSON.stringify(sessionId === undefined ? {} : { session_id: sessionId });
    return this.#call(this.#url("v1/deactivate"), credential, { method: "POST", headers, body }, (answer) => {
      const remainingS = count(answer["remaining_s"]);
      return remainingS === undefined ? undefined : { remainingS };
    });
  }

  #url(path: string): URL {
    return new URL(path, this.#service);
  }

  async #call<T>(url: URL, bearer: string, init: RequestInit, read: (answer: Fields) => T | undefined): Promise<Outcome<T>> {
    let answer: { status: number; retryAfter: string | null; fields: Fields | undefined };
    try {
      const response = await this.#fetch(url.href, {
        ...init,
        headers: { ...init.headers, authorization: `Bearer ${bearer}` },
        signal: AbortSignal.timeout(this.#timeoutMs),
        ...QUIET,
      });
      const fields = fieldsOf(await readLimited(response, MOST_BYTES));
      answer = { status: response.status, retryAfter: response.headers.get("retry-after"), fields };
    } catch {
      return { failure: { status: 0, code: "no_answer" } };
    }
    const { status, retryAfter, fields } = answer;
    if (status === 200) {
      const ok = fields && read(fields);
      // Somebody else answered, such as a captive portal: it counts as no answer.
      return ok ? { ok } : { failure: { status: 0, code: "bad_answer" } };
    }
    return { failure: failureOf(status, retryAfter, fields ?? {}) };
  }
}

/** The service's URL with a slash at its end. Throws unless it is HTTPS, or HTTP on the machine itself. */
export function serviceUrl(text: string): URL {
  const url = new URL(text);
  const own = /^(localhost|127(\.\d+){3}|\[::1\])$/.test(url.hostname);
  if (url.protocol !== "https:" && !(url.protocol === "http:" && own)) throw new TypeError("the service's URL must be https");
  if (url.username || url.search || url.hash) throw new TypeError("the service's URL has a path at most");
  if (!url.pathname.endsWith("/")) url.pathname += "/";
  return url;
}

/** Options of every request: no cookies, no cache, no redirects, no referrer. */
export const QUIET = { credentials: "omit", cache: "no-store", redirect: "error", referrerPolicy: "no-referrer" } as const;

/** Reads a body of at most so many bytes; rejects when there are more. */
export async function readLimited(response: Response, most: number): Promise<Bytes> {
  const bytes = new Uint8Array(most);
  let length = 0;
  const reader = response.body?.getReader();
  for (;;) {
    const { value, done } = (await reader?.read()) ?? { done: true };
    if (done) return bytes.slice(0, length);
    if (length + value!.length > most) {
      void reader!.cancel();
      throw new RangeError("the body is too long");
    }
    bytes.set(value!, length);
    length += value!.length;
  }
}

type Fields = Record<string, unknown>;

function fieldsOf(body: Bytes): Fields | undefined {
  try {
    return objectOf(JSON.parse(new TextDecoder().decode(body)));
  } catch {
    return undefined;
  }
}

function activationOf(answer: Fields, from: URL): Activation | undefined {
  const heartbeat = objectOf(answer["heartbeat"]) ?? {};
  const [meterMs, remainingS, expiresInS] = [answer["meter_ms"], answer["remaining_s"], answer["expires_in_s"]].map(count);
  const [intervalMs, timeoutMs] = [heartbeat["interval_ms"], heartbeat["timeout_ms"]].map(count);
  const http = urlOf(heartbeat["http"], from, /^https?:$/);
  const webtransport = urlOf(heartbeat["webtransport"], from, /^https:$/);
  const { token, session_id: sessionId, heartbeat_key: heartbeatKey } = answer;
  if (!isToken(token) || !isBytes(sessionId, SESSION_ID_BYTES) || !isBytes(heartbeatKey, SESSION_KEY_BYTES)) return undefined;
  if (meterMs === undefined || remainingS === undefined || expiresInS === undefined || !intervalMs || !timeoutMs || !http) return undefined;
  const hashes = Array.isArray(heartbeat["cert_hashes"]) ? heartbeat["cert_hashes"] : [];
  const certHashes = hashes.filter((hash): hash is string => isBytes(hash, 32));
  const superseded = answer["superseded"] === true;
  const places = { http, ...(webtransport && { webtransport }), certHashes };
  return { token, expiresInS, sessionId, heartbeatKey, meterMs, remainingS, superseded, heartbeat: { intervalMs, timeoutMs, ...places } };
}

function renewalOf(answer: Fields): Renewal | undefined {
  const remainingS = count(answer["remaining_s"]);
  return isToken(answer["token"]) && remainingS !== undefined ? { token: answer["token"], remainingS } : undefined;
}

function failureOf(status: number, retryAfter: string | null, problem: Fields): Failure {
  const { code, reason } = problem;
  const meterMs = count(problem["meter_ms"]);
  return {
    status,
    code: typeof code === "string" ? code.slice(0, 64) : "http",
    ...(typeof reason === "string" && { reason: reason.slice(0, 64) }),
    ...(meterMs !== undefined && { meterMs }),
    ...(retryAfter !== null && /^\d{1,6}$/.test(retryAfter) && { retryAfterS: Number(retryAfter) }),
  };
}

function objectOf(value: unknown): Fields | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Fields) : undefined;
}

function count(value: unknown): number | undefined {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0 ? value : undefined;
}

/** Visible ASCII, so that it can stand in a header. */
function isToken(value: unknown): value is string {
  return typeof value === "string" && /^[!-~]+$/.test(value);
}

function isBytes(value: unknown, length: number): value is string {
  return typeof value === "string" && fromBase64Url(value)?.length === length;
}

function urlOf(value: unknown, base: URL, protocols: RegExp): string | undefined {
  if (typeof value !== "string" || !URL.canParse(value, base.href)) return undefined;
  const url = new URL(value, base.href);
  return protocols.test(url.protocol) ? url.href : undefined;
}
