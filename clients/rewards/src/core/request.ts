/** Requests to the service: who asks, retries within a budget, and what the answer means. */

import { ACCESS_DENIED, type Outcome } from "./messages.ts";
import { type Params, asciiJson, isObject } from "./payload.ts";

const RETRY_MS = 100;

export interface Answer {
  status: number;
  body: string;
}

/** Sends the `attempt`th time, from 1, and gives up after `leftMs`. Rejects if there is no answer. */
export type Send = (attempt: number, leftMs: number) => Promise<Answer>;

export interface Timing {
  /** Milliseconds that only ever grow. */
  now(): number;
  sleep(ms: number): Promise<void>;
}

/** Sends until there is an answer below 500. Nothing is sent past the budget; then the last failure, as a string. */
export async function sendUntil(send: Send, budgetMs: number, timing: Timing): Promise<Answer | string> {
  const deadline = timing.now() + budgetMs;
  let last = "no time left";
  for (let attempt = 1; ; attempt++) {
    const left = deadline - timing.now();
    if (!(left > 0)) return last;
    try {
      const answer = await send(attempt, left);
      if (answer.status < 500) return answer;
      last = String(answer.status);
    } catch (error) {
      last = error instanceof Error ? error.message : String(error);
    }
    if (timing.now() + RETRY_MS >= deadline) return last;
    await timing.sleep(RETRY_MS);
  }
}

/** The headers that say who asks. `undefined` if the tokens cannot stand in a header: then there is nothing to ask. */
export function headers(params: Params, attempt: number, referrer: URL): Record<string, string> | undefined {
  if (!params.tokens || !/^[\x20-\x7e]+$/.test(params.tokens)) return undefined;
  return {
    "X-PsiCash-Auth": params.tokens,
    "X-PsiCash-Metadata": asciiJson({ ...params.metadata, attempt, referrer: referrer.origin + referrer.pathname }),
    "X-Requested-With": "XMLHttpRequest",
  };
}

export function transactionPath(action: string, distinguisher: string): string {
  return `/v1/transaction?class=${encodeURIComponent(action)}&distinguisher=${encodeURIComponent(distinguisher)}`;
}

/** What a page is told about a transaction. */
export function transactionOutcome(answer: Answer | string): Outcome {
  if (typeof answer === "string") return { error: null, success: false, detail: `request error: ${answer}` };
  const { status } = answer;
  return { error: null, success: status === 200, detail: status === 401 ? ACCESS_DENIED : String(status) };
}

/** When the reward may be had again, from the answer to a transaction. */
export function nextAllowedIn({ body }: Answer): string | undefined {
  const next = at(parsed(body), "TransactionResponse", "Values", "NextAllowed");
  return typeof next === "string" ? next : undefined;
}

/** `refused`: an answer that says nothing about the tokens. A service that cannot be reached does not close a shop. */
export type Validation = "valid" | "invalid" | "denied" | "refused" | "unreachable";

export function validation(answer: Answer | string): Validation {
  if (typeof answer === "string") return "unreachable";
  if (answer.status === 401) return "denied";
  const valid = at(parsed(answer.body), "TokensValid");
  if (answer.status !== 200 || !isObject(valid)) return "refused";
  return Object.values(valid).includes(true) ? "valid" : "invalid";
}

function parsed(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}

function at(value: unknown, ...path: string[]): unknown {
  return path.reduce<unknown>((inner, name) => (isObject(inner) ? inner[name] : undefined), value);
}
