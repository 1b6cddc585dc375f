/** Heartbeats in WebTransport datagrams. A session that has closed is opened again by the next frame. */

import { type Bytes, FRAME_BYTES, fromBase64Url } from "../frame.ts";
import type { Carrier, Receive } from "./carrier.ts";

const READY_MS = 5_000;

export interface WebTransportPlace {
  readonly url: string;
  /** SHA-256 of certificates to trust by their hash, in base64url. */
  readonly certHashes: readonly string[];
}

export function webTransportCarrier({ url, certHashes }: WebTransportPlace, receive: Receive): Carrier {
  const hashes = certHashes.map((hash) => ({ algorithm: "sha-256", value: fromBase64Url(hash)! }));
  let connection: Promise<Connection> | undefined;
  const connect = async (): Promise<Connection> => {
    const transport = new WebTransport(url, hashes.length ? { serverCertificateHashes: hashes } : {});
    const gone = () => (connection = undefined);
    void transport.closed.then(gone, gone);
    const late = setTimeout(() => transport.close(), READY_MS);
    await transport.ready.finally(() => clearTimeout(late));
    const writer = writableOf(transport.datagrams).getWriter();
    void readAll(transport.datagrams.readable.getReader(), receive);
    return { transport, writer };
  };
  return {
    async send(frame: Bytes): Promise<void> {
      connection ??= connect();
      try {
        await (await connection).writer.write(frame);
      } catch (error) {
        connection = undefined;
        throw error;
      }
    },
    close(): void {
      const open = connection;
      connection = undefined;
      void open?.then(
        ({ transport }) => transport.close(),
        () => {},
      );
    },
  };
}

interface Connection {
  readonly transport: WebTransport;
  readonly writer: WritableStreamDefaultWriter<Bytes>;
}

async function readAll(reader: ReadableStreamDefaultReader<Uint8Array>, receive: Receive): Promise<void> {
  for (;;) {
    // An error ends the session: `closed` tells of it.
    const { value, done } = await reader.read().catch(() => ({ value: undefined, done: true as const }));
    if (done) return;
    if (value?.length === FRAME_BYTES) receive(new Uint8Array(value));
  }
}

/** The standard has replaced `writable` by a function. */
function writableOf(datagrams: WebTransportDatagramDuplexStream): WritableStream<Bytes> {
  const newer = datagrams as unknown as { createWritable?: () => WritableStream<Bytes> };
  return (datagrams.writable as WritableStream<Bytes> | undefined) ?? newer.createWritable!();
}
