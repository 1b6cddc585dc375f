/** Acks: reading them, and believing only those that the holder of the session key has signed. */

import { BODY_BYTES, type Bytes, FRAME_BYTES, type SessionKey, VERSION, tagOf, viewOf } from "./frame.ts";

const ACK_KIND = 129;
const FLAG_RENEW = 1;
const FLAG_LOW_CREDIT = 2;
const REASONS = [
  "superseded",
  "exhausted",
  "timed_out",
  "deactivated",
  "revoked",
  "logged_out",
  "account_deleted",
  "expired",
] as const;

export type Verdict = "valid" | "invalid" | "unknown";
/** Why a session is over. Reasons that are not known here are read as `revoked`. */
export type EndReason = (typeof REASONS)[number];

export interface Ack {
  readonly verdict: Verdict;
  /** Given when the verdict is `invalid`, and only then. */
  readonly endReason: EndReason | undefined;
  readonly seq: number;
  /** Meter time at the service, ms. */
  readonly meterMs: bigint;
  /** The clock of the heartbeat that is answered, ms. */
  readonly echoMs: bigint;
  /** Whole seconds left in the tank; 4294967295 also stands for more. */
  readonly remainingS: number;
  /** When to beat next, in units of 100 ms. */
  readonly nextBeat100ms: number;
  readonly renew: boolean;
  readonly lowCredit: boolean;
}

/** The check at which bytes were refused as an ack. */
export type AckFlaw = "length" | "version" | "kind" | "tag" | "value";

/** Verifies and reads an ack. The checks are in the protocol's order. */
export async function readAck(key: SessionKey, bytes: Bytes): Promise<Ack | AckFlaw> {
  if (bytes.length !== FRAME_BYTES) return "length";
  if (bytes[0] !== VERSION) return "version";
  if (bytes[1] !== ACK_KIND) return "kind";
  if (!equalInConstantTime(await tagOf(key, bytes), bytes.subarray(BODY_BYTES))) return "tag";
  const view = viewOf(bytes);
  const verdict = (["valid", "invalid", "unknown"] as const)[view.getUint8(2)];
  const reason = view.getUint8(3);
  if (!verdict || (verdict === "invalid") !== (reason !== 0)) return "value";
  const flags = view.getUint16(30, true);
  return {
    verdict,
    endReason: reason ? (REASONS[reason - 1] ?? "revoked") : undefined,
    seq: view.getUint32(4, true),
    meterMs: view.getBigUint64(8, true),
    echoMs: view.getBigUint64(16, true),
    remainingS: view.getUint32(24, true),
    nextBeat100ms: view.getUint16(28, true),
    renew: (flags & FLAG_RENEW) !== 0,
    lowCredit: (flags & FLAG_LOW_CREDIT) !== 0,
  };
}

/** The end reason of this name; any other name is an end all the same. */
export function endReasonOf(name: unknown): EndReason {
  return REASONS.find((reason) => reason === name) ?? "revoked";
}

function equalInConstantTime(a: Bytes, b: Bytes): boolean {
  let difference = a.length ^ b.length;
  for (let at = 0; at < a.length; at++) difference |= a[at]! ^ b[at]!;
  return difference === 0;
}
