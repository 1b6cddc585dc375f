/** A forward proxy over TLS that lets pass whoever shows a token which the service calls active, and an origin that knows who came through it. */

import { type IncomingMessage, type Server, createServer, request as httpRequest } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { type AddressInfo, type Socket, connect } from "node:net";

import type { TestService } from "../../../heartbeat/tests/service.ts";

/** A service that does not know is asked again. */
const TRIES = 20;
const APART_MS = 250;

export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

export class TestProxy {
  /** Credentials that were shown, by target. */
  readonly shown: { target: string; user: string; token: string }[] = [];
  /** Local ports of its connections to origins. */
  readonly ports = new Set<number>();
  refusesAll = false;
  readonly #sockets = new Set<Socket>();

  /** Whom it asks about tokens. Until it is set, nobody passes. */
  #isActive: (token: string) => Promise<boolean> = async () => false;

  private constructor(private readonly server: Server) {}

  async ask(service: TestService): Promise<void> {
    const edge = await service.edge();
    this.#isActive = async (token) => {
      for (let tries = 1; tries <= TRIES; tries++) {
        const active = await service.isActive(edge, token).catch(() => undefined);
        if (active !== undefined) return active;
        await new Promise((resolve) => setTimeout(resolve, APART_MS));
      }
      return false;
    };
  }

  static async start(certificate: Certificate): Promise<TestProxy> {
    const server = createTlsServer(certificate);
    const proxy = new TestProxy(server);
    const mayPass = async (request: IncomingMessage): Promise<boolean> => {
      const [, basic] = /^Basic (.+)$/.exec(request.headers["proxy-authorization"] ?? "") ?? [];
      const [user, token] = basic ? Buffer.from(basic, "base64").toString().split(":") : [];
      if (!user || !token) return false;
      proxy.shown.push({ target: request.url!, user, token });
      return !proxy.refusesAll && user === "tank" && (await proxy.#isActive(token));
    };
    const challenge = "Basic realm=\"gastank\"";
    server.on("connection", (socket: Socket) => {
      proxy.#sockets.add(socket);
      socket.on("error", () => {}).on("close", () => proxy.#sockets.delete(socket));
    });
    // Every name is this machine here.
    const to = (port: number): Socket => {
      const socket = connect(port, "127.0.0.1", () => proxy.ports.add(socket.localPort!));
      return socket.on("error", () => socket.destroy());
    };
    server.on("connect", (request: IncomingMessage, socket: Socket, head: Buffer) => {
      socket.on("error", () => {});
      void mayPass(request).then((passes) => {
        if (!passes) return socket.end(`HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: ${challenge}\r\ncontent-length: 0\r\n\r\n`);
        const origin = to(Number(request.url!.split(":").at(-1)));
        socket.write("HTTP/1.1 200 Connection established\r\n\r\n");
        origin.write(head);
        origin.pipe(socket).pipe(origin);
        return undefined;
      });
    });
    server.on("request", (request, response) => {
      void mayPass(request).then((passes) => {
        if (!passes) return response.writeHead(407, { "proxy-authenticate": challenge }).end();
        const { port, pathname, host } = new URL(request.url!);
        const headers = { ...request.headers, host };
        delete headers["proxy-authorization"];
        const onward = httpRequest({ createConnection: () => to(Number(port)), path: pathname, method: request.method, headers }, (answer) => {
          response.writeHead(answer.statusCode!, answer.headers);
          answer.pipe(response);
        });
        onward.on("error", () => response.destroy());
        request.pipe(onward);
        return undefined;
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return proxy;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  /** Drops what is open: the next request needs a new connection. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async stop(): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.server.close(resolve));
  }
}

/** An origin over HTTP and one over HTTPS. Each page says whether it came through the proxy. */
export class TestOrigin {
  /** What was shown to the page that asks for a password. */
  readonly authorizations: string[] = [];

  private constructor(
    private readonly plain: Server,
    private readonly encrypted: Server,
  ) {}

  static async start(certificate: Certificate, ports: () => ReadonlySet<number>): Promise<TestOrigin> {
    let origin: TestOrigin;
    const answer: Parameters<typeof createServer>[1] = (request, response) => {
      if (request.headers.authorization) origin.authorizations.push(request.headers.authorization);
      const locked = request.url === "/locked";
      response.writeHead(locked ? 401 : 200, { "content-type": "text/html", connection: "close", ...(locked && { "www-authenticate": "Basic realm=\"origin\"" }) });
      response.end(ports().has(request.socket.remotePort!) ? "through the proxy" : "direct");
    };
    origin = new TestOrigin(createServer(answer), createTlsServer(certificate, answer));
    for (const server of [origin.plain, origin.encrypted]) await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return origin;
  }

  get http(): string {
    return `http://origin.test:${(this.plain.address() as AddressInfo).port}`;
  }

  get https(): string {
    return `https://origin.test:${(this.encrypted.address() as AddressInfo).port}`;
  }

  stop(): void {
    this.plain.close();
    this.encrypted.close();
  }
}
