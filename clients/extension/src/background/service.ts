/** What is asked of the service beside the session: its document, and what the account holds. */

import { type ServiceDocument, readDocument } from "./core.ts";

const TIMEOUT_MS = 8_000;
const QUIET = { credentials: "omit", redirect: "error", referrerPolicy: "no-referrer" } as const;

export async function fetchDocument(service: string): Promise<ServiceDocument | undefined> {
  try {
    const response = await fetch(`${service}/v1/client`, { ...QUIET, signal: AbortSignal.timeout(TIMEOUT_MS) });
    return response.ok ? readDocument(await response.json()) : undefined;
  } catch {
    return undefined;
  }
}

/** The balance in milliseconds, or the status over HTTP; 0 when there was no answer. */
export async function fetchBalance(service: string, key: string): Promise<{ balanceMs: number } | { status: number }> {
  try {
    const headers = { authorization: `Bearer ${key}` };
    const response = await fetch(`${service}/v1/account`, { ...QUIET, headers, cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (!response.ok) return { status: response.status };
    const { remaining_s } = (await response.json()) as { remaining_s?: unknown };
    return Number.isSafeInteger(remaining_s) ? { balanceMs: Number(remaining_s) * 1_000 } : { status: 0 };
  } catch {
    return { status: 0 };
  }
}
