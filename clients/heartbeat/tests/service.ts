/** The built service on loopback, on free ports and with a data directory of its own. */

import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
const PROGRAM = process.env["GASTANK_TEST_PROGRAM"] ?? join(ROOT, "target/debug/gastank");

export class TestService {
  private constructor(
    private child: ChildProcess,
    readonly home: string,
    private places: Record<string, string>,
    private readonly variables: Record<string, string>,
  ) {}

  static async start(variables: Record<string, string> = {}): Promise<TestService> {
    if (!existsSync(PROGRAM)) throw new Error(`${PROGRAM} is missing: build the service with cargo build --bin gastank`);
    const home = mkdtempSync(join(tmpdir(), "gastank-client-"));
    const { child, places } = await launch(home, { http: "127.0.0.1:0", admin: "127.0.0.1:0", quic: "127.0.0.1:0" }, variables);
    return new TestService(child, home, places, variables);
  }

  get http(): string {
    return `http://${this.places["http"]}`;
  }

  get log(): string {
    return readFileSync(join(this.home, "log"), "utf8");
  }

  /** Ends the program, as a power cut would. */
  async kill(): Promise<void> {
    await ended(this.child, "SIGKILL");
  }

  /** Starts it again where it was. */
  async restart(): Promise<void> {
    ({ child: this.child } = await launch(this.home, this.places, this.variables));
  }

  async stop(): Promise<void> {
    await ended(this.child, "SIGTERM");
    rmSync(this.home, { recursive: true, force: true });
  }

  async admin<T = Record<string, unknown>>(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<T> {
    const token = readFileSync(join(this.home, "data/admin.token"), "utf8").trim();
    const response = await fetch(`http://${this.places["admin"]}${path}`, {
      method,
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json", ...headers },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return (text ? JSON.parse(text) : undefined) as T;
  }

  account(creditS: number): Promise<{ account: string; key: string }> {
    return this.admin("POST", "/admin/accounts", { credit_s: creditS, key: true });
  }

  credit(account: string, seconds: number): Promise<unknown> {
    return this.admin("POST", `/admin/accounts/${account}/credit`, { seconds }, { "idempotency-key": crypto.randomUUID() });
  }

  edge(): Promise<{ client_id: string; client_secret: string }> {
    return this.admin("POST", "/admin/edges", { name: "test", audience: "edge" });
  }

  async isActive(edge: { client_id: string; client_secret: string }, token: string): Promise<boolean> {
    const body = new URLSearchParams({ token, ...edge });
    const response = await fetch(`${this.http}/oauth/introspect`, { method: "POST", body });
    // A service that is starting does not know yet, which is not no.
    if (!response.ok) throw new Error(`introspection: ${response.status}`);
    return ((await response.json()) as { active: boolean }).active;
  }
}

async function launch(
  home: string,
  places: Record<string, string>,
  variables: Record<string, string>,
): Promise<{ child: ChildProcess; places: Record<string, string> }> {
  const { openSync, closeSync } = await import("node:fs");
  const log = openSync(join(home, "log"), "a");
  const clean = Object.entries(process.env).filter(([name]) => !name.startsWith("GASTANK_"));
  const child = spawn(PROGRAM, ["serve", "--data-dir", join(home, "data")], {
    env: {
      ...Object.fromEntries(clean),
      GASTANK_HTTP_ADDR: places["http"],
      GASTANK_ADMIN_ADDR: places["admin"],
      GASTANK_QUIC_ADDR: places["quic"],
      GASTANK_UDP_ADDR: "127.0.0.1:0",
      GASTANK_HEARTBEAT_INTERVAL_MS: "300",
      GASTANK_HEARTBEAT_TIMEOUT_MS: "5000",
      GASTANK_CHECKPOINT_INTERVAL_MS: "300",
      ...variables,
    },
    stdio: ["ignore", "pipe", log],
  });
  closeSync(log);
  for await (const line of createInterface({ input: child.stdout! })) {
    if (!line.startsWith("ready ")) continue;
    child.stdout!.resume();
    return { child, places: Object.fromEntries(line.split(" ").slice(1).map((pair) => pair.split("=") as [string, string])) };
  }
  throw new Error(`the service was not ready: ${readFileSync(join(home, "log"), "utf8")}`);
}

async function ended(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once("exit", resolve));
  child.kill(signal);
  await gone;
}
