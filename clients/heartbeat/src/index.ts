export { type Ack, type AckFlaw, type EndReason, type Verdict, readAck } from "./ack.ts";
export { type Activation, Api, type ApiOptions, type Failure, type Outcome, type Renewal, serviceUrl } from "./api.ts";
export type { Carrier, Receive } from "./carriers/carrier.ts";
export { httpCarrier } from "./carriers/http.ts";
export { type WebTransportPlace, webTransportCarrier } from "./carriers/webtransport.ts";
export { type CarrierName, HeartbeatClient, type HeartbeatClientOptions } from "./client.ts";
export {
  type Bytes,
  type Frame,
  FrameKind,
  ProxyError,
  type SessionKey,
  StateBit,
  fromBase64Url,
  importSessionKey,
  signFrame,
  stateBits,
} from "./frame.ts";
export {
  type Contact,
  type Phase,
  type Randomness,
  Session,
  type SessionCommand,
  type SessionEvent,
  type Snapshot,
  type Status,
} from "./session.ts";
