import type { ProxyMode, ProxyPlace } from "../core.ts";

/** What the proxy is to do, and with what. */
export interface ProxyOrder {
  readonly mode: ProxyMode;
  readonly place: ProxyPlace | undefined;
  readonly token: string | undefined;
  readonly bypass: readonly string[];
}

export interface ProxyReports {
  /** Waits until the state of this extension is known. */
  readonly ready: Promise<unknown>;
  /** What is to be done now. */
  order(): ProxyOrder;
  /** Our proxy refused the token. */
  refused(): void;
  /** Our proxy could not be reached. */
  failed(): void;
}

export interface ProxyControl {
  apply(order: ProxyOrder): Promise<void>;
  /** Whether another extension or a policy holds the setting. */
  isTaken(): Promise<boolean>;
}

export const USER = "tank";
/** Requests whose challenge was answered. */
const MOST_ANSWERED = 2_000;

/** Remembers which requests have been given credentials: each gets them once. */
export class Answered {
  readonly #ids = new Set<string>();

  /** Whether it is the first time. */
  first(id: string): boolean {
    if (this.#ids.has(id)) return false;
    this.#ids.add(id);
    if (this.#ids.size > MOST_ANSWERED) this.#ids.delete(this.#ids.values().next().value!);
    return true;
  }
}

/** Whether a challenge is that of our proxy. Any other one never gets our token. */
export function isOurs(challenge: { isProxy: boolean; challenger: { host: string; port: number } }, place: ProxyPlace | undefined): boolean {
  const bare = (host: string): string => host.replace(/^\[|\]$/g, "").toLowerCase();
  return challenge.isProxy && !!place && bare(challenge.challenger.host) === bare(place.host) && challenge.challenger.port === place.port;
}
