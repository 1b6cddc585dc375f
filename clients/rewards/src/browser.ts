/** What the three scripts need of a browser, and nothing more. */

import type { Answer, Timing } from "./core/request.ts";

export const timing: Timing = {
  now: () => performance.now(),
  sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
};

/** One request without cookies, referrer and redirects. */
export async function exchange(url: string, init: RequestInit, leftMs: number): Promise<Answer> {
  const control = new AbortController();
  const timer = setTimeout(() => control.abort(), leftMs);
  try {
    const options: RequestInit = { credentials: "omit", referrerPolicy: "no-referrer", redirect: "error", cache: "no-store", signal: control.signal };
    const response = await fetch(url, { ...options, ...init });
    return { status: response.status, body: await response.text() };
  } finally {
    clearTimeout(timer);
  }
}

/** The element that loaded this script. */
export function ownScript(): HTMLScriptElement | null {
  const current = document.currentScript;
  return current instanceof HTMLScriptElement && current.src ? current : document.querySelector<HTMLScriptElement>('script[src*="psicash.js"]');
}

export function toUrl(text: string): URL | undefined {
  try {
    return new URL(text);
  } catch {
    return undefined;
  }
}

export const isFramed = (): boolean => window !== window.top;

export const storage = (): Storage => window.localStorage;

/** For people who look for a fault. Tokens are never part of it. */
export function logger(isDebugging: boolean): (words: string) => void {
  if (!isDebugging) return () => {};
  return (words) => {
    console.info(`psicash: ${words}`);
    document.getElementById("log")?.append(`${new Date().toISOString()} ${words}\n`);
  };
}
