/** What page and widget post to each other: JSON strings. The page asks, the widget says `ready` once and then answers. */

import { isObject } from "./payload.ts";

export const ACTIONS = ["init", "page-view", "click-through"] as const;
export type Action = (typeof ACTIONS)[number];

/** What a page's callback is called with. */
export interface Outcome {
  error: string | null;
  success: boolean;
  detail: string;
}

export interface Message extends Partial<Outcome> {
  /** The answer has the id of what it answers. */
  id: string;
  type: Action | "ready";
  /** Milliseconds until the page no longer waits. */
  timeout?: number;
  payload?: { distinguisher?: string };
}

export const READY = "ready";
export const ACCESS_DENIED = "401 access denied";

const MOST_CHARACTERS = 16_384;

export function isAction(value: unknown): value is Action {
  return (ACTIONS as readonly unknown[]).includes(value);
}

export function failed(error: string): Outcome {
  return { error, success: false, detail: "" };
}

export function write(message: Message): string {
  return JSON.stringify(message);
}

/** Anything may be posted to a window. What is no message of ours is `undefined`. */
export function read(data: unknown): Message | undefined {
  if (typeof data !== "string" || data.length > MOST_CHARACTERS) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(data);
  } catch {
    return undefined;
  }
  if (!isObject(value)) return undefined;
  const { id, type, timeout, payload, error, success, detail } = value;
  if (typeof id !== "string" || !(type === READY || isAction(type))) return undefined;
  const message: Message = { id, type, error: typeof error === "string" ? error : null, success: success === true, detail: typeof detail === "string" ? detail : "" };
  if (isPositive(timeout)) message.timeout = timeout;
  if (isObject(payload) && typeof payload["distinguisher"] === "string") message.payload = { distinguisher: payload["distinguisher"] };
  return message;
}

export function isPositive(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value) && value > 0;
}
