/**
 * The three hosts of a browser test on one port: landing pages and shops, whose pages a test writes, and the service.
 *
 * The service answers as the tokens say, so that it can have faults: `good…` is valid, `bad…` is not, `s429…` is answered 429,
 * `twice503…` is answered 503 twice, `cut…` loses its first connection, `hang…` is never answered.
 */

import { readFileSync } from "node:fs";
import { createServer, type IncomingMessage, request as send, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";

import { buildSync } from "esbuild";

export const TANK = "tank.test";
/** The host by which the built service is reached, once there is one. */
export const SERVICE = "service.test";
export const LOOPBACK = "127.0.0.1";
const HERE = fileURLToPath(new URL(".", import.meta.url));
const COOLDOWN_MS = 3_600_000;
const HEADERS = "X-PsiCash-Auth, X-PsiCash-Metadata, X-Requested-With";
const FRAME_POLICY = "default-src 'none'; script-src 'self'; connect-src 'self'; frame-ancestors *";
const TYPES: Record<string, string> = { css: "text/css", html: "text/html; charset=utf-8", js: "text/javascript", json: "application/json" };

export interface Sent {
  service: string;
  method: string;
  path: string;
  tokens: string;
  metadata: { attempt?: number; referrer?: string } & Record<string, unknown>;
  status: number;
}

export class Origin {
  /** What was asked of the service, by the host of the page. */
  readonly sent = new Map<string, Sent[]>();
  /** Every address and Referer that the service has seen. */
  readonly seen: string[] = [];
  /** Hosts whose landing pages keep the package in their address. */
  readonly keepers: string[] = [];
  private readonly pages = new Map<string, string>();
  /** A script that a host's widget runs first. */
  readonly preludes = new Map<string, string>();
  /** Hosts whose widget never loads. */
  readonly blocked = new Set<string>();
  /** Where the built service listens. */
  service: string | undefined;
  private readonly reports = new Map<string, (report: unknown) => void>();
  private readonly tries = new Map<string, number>();
  private readonly files: Record<string, string>;

  private constructor(private readonly server: Server) {
    const demo = (name: string): string => readFileSync(new URL(`../../../../deploy/demo/${name}`, import.meta.url), "utf8");
    const dist = (name: string): string => readFileSync(new URL(`../../dist/${name}`, import.meta.url), "utf8");
    const vectors = readFileSync(new URL("../../../../tests/vectors/rewards.json", import.meta.url), "utf8");
    const replay = buildSync({ entryPoints: [`${HERE}../replay.ts`], bundle: true, write: false, format: "iife", globalName: "vectors", target: "es2019" });
    this.files = {
      "/v2/psicash.js": dist("psicash.js"),
      "/v2/iframe.html": dist("iframe.html"),
      "/v2/iframe.debug.html": dist("iframe.debug.html"),
      "/shopify-psicash.js": dist("shopify-psicash.js"),
      ...Object.fromEntries(["demo.css", "landing.html", "landing.js", "shop.html", "shop.js"].map((name) => [`/demo/${name}`, demo(name)])),
      "/kit.js": readFileSync(`${HERE}kit.js`, "utf8"),
      "/frame.html": '<!doctype html><script src="kit.js"></script><script>kit.answerAsFrame()</script>',
      "/replay.js": replay.outputFiles[0]!.text,
      "/vectors.json": vectors,
    };
    server.on("request", (request, response) => void this.answer(request, response));
  }

  static async start(): Promise<Origin> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return new Origin(server);
  }

  stop(): void {
    this.server.closeAllConnections();
    this.server.close();
  }

  at(host: string): string {
    return `http://${host}:${(this.server.address() as AddressInfo).port}`;
  }

  /** A page of a test, at `/ID/` and everything below. */
  page(id: string, html: string): void {
    this.pages.set(id, html);
  }

  /** What the page of this id will say with `kit.report`. */
  report<T>(id: string, withinMs = 20_000): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`page ${id} reported nothing`)), withinMs);
      this.reports.set(id, (report) => {
        clearTimeout(timer);
        resolve(report as T);
      });
    });
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", this.at(request.headers.host?.split(":")[0] ?? TANK));
    const { referer = "" } = request.headers;
    if (url.hostname === TANK) this.seen.push(`${request.method} ${url.href} from ${referer}`);
    if ([SERVICE, LOOPBACK].includes(url.hostname) && /^\/(v1|v2|hooks|shopify-psicash)/.test(url.pathname)) return this.forward(request, response);
    const [, first = "", second = ""] = url.pathname.split("/");

    if (first === "v1") return this.serve(request, response, url);
    if (second === "report") {
      let body = "";
      for await (const chunk of request) body += String(chunk);
      this.reports.get(first)?.(JSON.parse(body));
      return void response.writeHead(204).end();
    }
    const page = this.pages.get(first);
    if (page !== undefined && url.hostname !== TANK) {
      // So that a test chooses what its next page knows of this one.
      const policy = url.searchParams.get("policy");
      return void response.writeHead(200, { "content-type": TYPES["html"], ...(policy && { "referrer-policy": policy }) }).end(page);
    }
    const file = this.files[url.pathname];
    if (file === undefined) return void response.writeHead(404).end();
    const from = URL.canParse(referer) ? new URL(referer).hostname : "";
    const isWidget = url.pathname.startsWith("/v2/iframe");
    if (isWidget && this.blocked.has(from)) return void request.socket.setTimeout(0);
    const prelude = isWidget && this.preludes.get(from);
    const headers = { "content-type": TYPES[url.pathname.split(".").at(-1) ?? ""], ...(isWidget && !prelude && { "content-security-policy": FRAME_POLICY }) };
    response.writeHead(200, headers).end(prelude ? file.replace("<script", `<script>${prelude}</script><script`) : file);
  }

  private forward(request: IncomingMessage, response: ServerResponse): void {
    const { method, headers } = request;
    const onward = send(`${this.service}${request.url}`, { method, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    onward.on("error", () => response.destroy());
    request.pipe(onward);
  }

  private serve(request: IncomingMessage, response: ServerResponse, url: URL): void {
    const { origin } = request.headers;
    const isShops = url.pathname === "/v1/validate-tokens";
    const cors = origin && (isShops || origin === this.at(TANK)) ? { "access-control-allow-origin": origin, vary: "origin" } : {};
    if (request.method === "OPTIONS") {
      return void response.writeHead(204, { ...cors, "access-control-allow-methods": "GET, POST", "access-control-allow-headers": HEADERS }).end();
    }
    const tokens = String(request.headers["x-psicash-auth"] ?? "");
    const metadata = JSON.parse(String(request.headers["x-psicash-metadata"] ?? "{}")) as Sent["metadata"];
    const host = URL.canParse(metadata.referrer ?? "") ? new URL(metadata.referrer!).hostname : "";
    const count = (this.tries.get(host) ?? 0) + 1;
    this.tries.set(host, count);
    if (request.headers.cookie !== undefined || !request.headers["x-requested-with"]) throw new Error("a request of another kind");

    const log = this.sent.get(host) ?? [];
    this.sent.set(host, log);
    const entry: Sent = { service: url.hostname, method: request.method ?? "", path: url.pathname + url.search, tokens, metadata, status: 0 };
    log.push(entry);
    if (tokens.startsWith("hang")) return;
    if (tokens.startsWith("cut") && count === 1) return void request.socket.destroy();
    const [status, body] = isShops ? this.validate(tokens, count) : this.transact(tokens, count);
    entry.status = status;
    response.writeHead(status, { ...cors, "content-type": "application/json" }).end(JSON.stringify(body));
  }

  private transact(tokens: string, count: number): [number, unknown] {
    const status = fault(tokens, count) ?? (tokens.startsWith("bad") ? 401 : 200);
    const next = new Date(Date.now() + COOLDOWN_MS).toISOString();
    return [status, status === 200 ? { TransactionResponse: { Values: { NextAllowed: next } } } : {}];
  }

  private validate(tokens: string, count: number): [number, unknown] {
    const list = tokens.split(",");
    return [fault(tokens, count) ?? 200, { TokensValid: Object.fromEntries(list.map((token) => [token, !token.startsWith("bad")])) }];
  }
}

function fault(tokens: string, count: number): number | undefined {
  const always = /^s(\d{3})/.exec(tokens)?.[1];
  if (always) return Number(always);
  return tokens.startsWith("twice503") && count <= 2 ? 503 : undefined;
}
