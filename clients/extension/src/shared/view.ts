/** What the background tells the popup, and what the popup may ask of it. */

/** In words of a person. `lost` and `unknown` do not mean that the session is over. */
export type StateName = "signed_out" | "off" | "connecting" | "on" | "unknown" | "offline" | "lost" | "blocked" | "stopping";

export interface View {
  readonly state: StateName;
  /** Whether the switch shows "on". */
  readonly wanted: boolean;
  /** Key of a sentence that says why, and what to do. */
  readonly notice: string | undefined;
  /** Milliseconds left when this was made; `undefined` while it is not known. */
  readonly remainingMs: number | undefined;
  /** Whether they run down. */
  readonly draining: boolean;
  readonly lowCredit: boolean;
  /** A full gauge, in milliseconds. */
  readonly fullMs: number;
  readonly service: string | undefined;
  readonly serviceManaged: boolean;
  readonly shopUrl: string | undefined;
  readonly earnUrl: string | undefined;
  readonly accountUrl: string | undefined;
}

export type Request =
  | { readonly ask: "view" }
  | { readonly ask: "switch"; readonly on: boolean }
  | { readonly ask: "sign_in"; readonly service: string; readonly key: string }
  | { readonly ask: "sign_out" };

/** Of `sign_in`: the key of a sentence, or nothing when it is done. */
export type SignInAnswer = { readonly problem: string | undefined };

export type OnLoss = "direct" | "block";

export interface Settings {
  readonly service: string | undefined;
  readonly onLoss: OnLoss;
  readonly exceptions: readonly string[];
}

/** Settings, and which of them an administrator has set. */
export interface Effective extends Settings {
  readonly managed: ReadonlySet<"service" | "on_loss" | "exceptions">;
}
