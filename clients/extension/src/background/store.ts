/** What is kept, and where: settings on disk, secrets in memory. URLs and hosts that people visit are kept nowhere. */

import type { Effective } from "../shared/view.ts";
import { type ServiceDocument, effective } from "./core.ts";

/** In memory only: it is gone when the browser ends. */
export interface Kept {
  key?: string | undefined;
  wanted?: boolean | undefined;
  snapshot?: unknown;
  document?: ServiceDocument | undefined;
  balanceMs?: number | undefined;
}

export async function loadSettings(): Promise<Effective> {
  const stored = await chrome.storage.local.get(["service", "on_loss", "exceptions"]);
  // Rejects where there is no policy, in Firefox.
  const managed = await chrome.storage.managed.get(["service", "on_loss", "exceptions"]).catch(() => ({}));
  return effective(stored, managed);
}

export function loadKept(): Promise<Kept> {
  return chrome.storage.session.get(["key", "wanted", "snapshot", "document", "balanceMs"]);
}

export async function keep(changes: Kept): Promise<void> {
  const gone = Object.entries(changes).flatMap(([name, value]) => (value === undefined ? [name] : []));
  if (gone.length) await chrome.storage.session.remove(gone);
  await chrome.storage.session.set(changes);
}
