/** Heartbeats by `POST`. The tag is the proof of who sends: there is no `Authorization`. */

import { QUIET, readLimited } from "../api.ts";
import { type Bytes, FRAME_BYTES } from "../frame.ts";
import type { Carrier, Receive } from "./carrier.ts";

const TIMEOUT_MS = 8_000;

export function httpCarrier(url: string, receive: Receive, ours?: typeof fetch): Carrier {
  const call: typeof fetch = ours ?? ((input, init) => fetch(input, init));
  const closed = new AbortController();
  return {
    async send(frame: Bytes): Promise<void> {
      const response = await call(url, {
        method: "POST",
        headers: { "content-type": "application/octet-stream" },
        body: frame,
        signal: AbortSignal.any([closed.signal, AbortSignal.timeout(TIMEOUT_MS)]),
        ...QUIET,
      });
      if (response.status !== 200) {
        void response.body?.cancel();
        throw new Error(`status ${response.status}`);
      }
      receive(await readLimited(response, FRAME_BYTES));
    },
    close: () => closed.abort(),
  };
}
