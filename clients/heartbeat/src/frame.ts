/**
 * Heartbeat frames: 48 bytes, of which the last 16 are a tag over the others. All integers are little-endian.
 *
 * The tag is HMAC-SHA256 with the session key, cut to 16 bytes. The key is imported as not extractable, so code that gets hold of it can sign
 * with it and cannot read it.
 */

export const FRAME_BYTES = 48;
export const BODY_BYTES = 32;
export const SESSION_ID_BYTES = 16;
export const SESSION_KEY_BYTES = 32;
export const VERSION = 1;

export const FrameKind = { Beat: 1, Stop: 2, Renew: 3 } as const;
export type FrameKind = (typeof FrameKind)[keyof typeof FrameKind];

/** State bits: what the client says of itself. Never a URL, host or address. */
export const StateBit = {
  Idle: 1 << 0,
  Locked: 1 << 1,
  ProxyOn: 1 << 2,
  CaptivePortal: 1 << 3,
  Metered: 1 << 4,
  PrivateWindow: 1 << 5,
  OnBattery: 1 << 6,
} as const;

/** Class of the most recent proxy error, bits 8 to 11 of the state. */
export const ProxyError = { None: 0, Status407: 1, Status429: 2, Status502: 3, Connect: 4 } as const;
export type ProxyError = (typeof ProxyError)[keyof typeof ProxyError];

/** The 16 state bits from the flags, the class of the last proxy error, and a platform number from 0 to 15. */
export function stateBits(flags: number, proxyError: ProxyError = 0, platform = 0): number {
  return (flags & 0x7f) | (proxyError << 8) | ((platform & 0xf) << 12);
}

/** The fields of a heartbeat, but for the session id. */
export interface Frame {
  readonly kind: FrameKind;
  readonly state: number;
  /** The client's counter, 32 bits. */
  readonly seq: number;
  /** The client's estimate of meter time, ms. */
  readonly clockMs: number | bigint;
}

export type SessionKey = CryptoKey;
export type Bytes = Uint8Array<ArrayBuffer>;

/** Imports the 32 bytes of a session key. */
export async function importSessionKey(raw: Bytes): Promise<SessionKey> {
  if (raw.length !== SESSION_KEY_BYTES) throw new RangeError("a session key has 32 bytes");
  return crypto.subtle.importKey("raw", raw, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
}

/** Builds and signs a heartbeat. */
export async function signFrame(key: SessionKey, sessionId: Bytes, frame: Frame): Promise<Bytes> {
  if (sessionId.length !== SESSION_ID_BYTES) throw new RangeError("a session id has 16 bytes");
  const bytes = new Uint8Array(FRAME_BYTES);
  const view = viewOf(bytes);
  view.setUint8(0, VERSION);
  view.setUint8(1, frame.kind);
  view.setUint16(2, frame.state, true);
  view.setUint32(4, frame.seq, true);
  bytes.set(sessionId, 8);
  view.setBigUint64(24, BigInt(frame.clockMs), true);
  bytes.set(await tagOf(key, bytes), BODY_BYTES);
  return bytes;
}

/** The tag over the first 32 bytes of a frame. */
export async function tagOf(key: SessionKey, frame: Bytes): Promise<Bytes> {
  const mac = await crypto.subtle.sign("HMAC", key, frame.subarray(0, BODY_BYTES));
  return new Uint8Array(mac, 0, FRAME_BYTES - BODY_BYTES);
}

export function viewOf(bytes: Bytes): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Decodes base64url without padding; `undefined` if the text is something else. */
export function fromBase64Url(text: string): Bytes | undefined {
  if (!/^[\w-]*$/.test(text) || text.length % 4 === 1) return undefined;
  const binary = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(binary, (character) => character.charCodeAt(0));
}
