import type { Bytes } from "../frame.ts";

/** Takes frames to the service, and brings what may be acks. It promises nothing: frames and acks may be lost, late, repeated or forged. */
export interface Carrier {
  /**
   * Sends a frame. Rejects when it is known that no ack will come for it; resolves otherwise. A call that takes longer than an ack may take is no
   * harm: the frame has been given up by then.
   */
  send(frame: Bytes): Promise<void>;
  close(): void;
}

/** Whatever came back. */
export type Receive = (bytes: Bytes) => void;
