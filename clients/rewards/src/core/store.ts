/**
 * What is kept in an origin's storage: the package, and in the widget when each reward may be had again.
 *
 * Storage may be missing, refused, full or hold anything. Then we go on without it.
 */

import { isReadable } from "./choose.ts";
import { type Params, ordered, toParams } from "./payload.ts";

export class Store {
  private readonly open: () => Storage;
  private readonly prefix: string;

  constructor(open: () => Storage, isDevelopment = false) {
    this.open = open;
    this.prefix = isDevelopment ? "PsiCash-Dev::v2::" : "PsiCash::v2::";
  }

  private get key(): string {
    return `${this.prefix}PsiCashParams`;
  }

  load(): Params | undefined {
    return this.with((storage) => {
      const params = toParams(JSON.parse(storage.getItem(this.key) ?? "null"));
      return params && isReadable(params) ? params : undefined;
    });
  }

  /** Other tokens than before are another person's: what was kept for the former goes. Says whether it is kept now. */
  save(params: Params): boolean {
    const text = JSON.stringify(ordered(params));
    const former = this.load();
    return (
      this.with((storage) => {
        if (storage.getItem(this.key) === text) return true;
        if (!former || (former.tokens ?? null) !== (params.tokens ?? null)) this.wipe(storage);
        storage.setItem(this.key, text);
        return true;
      }) ?? false
    );
  }

  /** These tokens were refused. Another tab may have stored better ones meanwhile: those stay. So does the timestamp. */
  forget(tokens: string): void {
    const stored = this.load();
    if (stored?.tokens !== tokens) return;
    this.with((storage) => storage.setItem(this.key, JSON.stringify(ordered({ ...stored, tokens: null }))));
  }

  /** When this reward may be had again, as the server put it. */
  nextAllowed(action: string, distinguisher: string): string | undefined {
    return this.with((storage) => {
      const value: unknown = JSON.parse(storage.getItem(this.nextAllowedKey(action, distinguisher)) ?? "null");
      return typeof value === "string" ? value : undefined;
    });
  }

  keepNextAllowed(action: string, distinguisher: string, next: string): void {
    this.with((storage) => storage.setItem(this.nextAllowedKey(action, distinguisher), JSON.stringify(next)));
  }

  private nextAllowedKey(action: string, distinguisher: string): string {
    return `${this.prefix}nextAllowed::${action}::${distinguisher}`;
  }

  private wipe(storage: Storage): void {
    const keys = Array.from({ length: storage.length }, (_, index) => storage.key(index));
    for (const key of keys) if (key?.startsWith(this.prefix)) storage.removeItem(key);
  }

  private with<T>(what: (storage: Storage) => T): T | undefined {
    try {
      return what(this.open());
    } catch {
      return undefined;
    }
  }
}
