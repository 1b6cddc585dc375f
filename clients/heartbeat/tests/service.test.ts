// The library in Node against the built service.

import { execFile } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { afterAll, beforeAll, expect, test } from "vitest";

import { HeartbeatClient, type HeartbeatClientOptions, type Status, StateBit } from "../src/index.ts";
import { TestService } from "./service.ts";

let service: TestService;
let edge: { client_id: string; client_secret: string };

beforeAll(async () => {
  service = await TestService.start();
  edge = await service.edge();
});

afterAll(() => service.stop());

/** A client, and waiting for what becomes of it. */
class Person {
  readonly client: HeartbeatClient;
  readonly acts: string[] = [];
  snapshot: unknown;
  #watchers = new Set<() => void>();

  constructor(key: string, options: Partial<HeartbeatClientOptions> = {}) {
    this.client = new HeartbeatClient({
      service: service.http,
      credential: () => key,
      onStatus: () => this.#watchers.forEach((look) => look()),
      onSnapshot: (snapshot) => (this.snapshot = JSON.parse(JSON.stringify(snapshot))),
      fetch: (input, init) => {
        this.acts.push(new URL(input as string).pathname);
        return fetch(input, init);
      },
      ...options,
    });
  }

  async until(met: (status: Status) => boolean): Promise<Status> {
    for (;;) {
      if (met(this.client.status)) return this.client.status;
      await new Promise<void>((resolve) => {
        const look = (): void => {
          this.#watchers.delete(look);
          resolve();
        };
        this.#watchers.add(look);
      });
    }
  }

  /** Until it has had this many acks since now. */
  async beats(count: number): Promise<void> {
    const wanted = this.sent + count;
    await this.until((status) => this.sent > wanted && status.silences === 0);
  }

  get sent(): number {
    return this.acts.filter((path) => path === "/v1/heartbeat").length;
  }

  async on(): Promise<this> {
    this.client.activate();
    await this.until(({ phase }) => phase === "on");
    return this;
  }
}

test("a session opens, beats, and is closed; the ledger has what it cost", async () => {
  const { account, key } = await service.account(100);
  const person = await new Person(key).on();
  const token = person.client.token!;
  expect(await service.isActive(edge, token)).toBe(true);
  person.client.setState(StateBit.ProxyOn);
  await person.beats(3);
  person.client.stop();
  expect(await person.until(({ phase }) => phase === "off")).toMatchObject({ endReason: "deactivated" });
  expect(person.client.token).toBeUndefined();
  expect(await service.isActive(edge, token)).toBe(false);
  expect(person.acts.filter((path) => path === "/v1/activate")).toHaveLength(1);
  const { remaining_s } = await service.admin<{ remaining_s: number }>("GET", `/admin/accounts/${account}`);
  expect(remaining_s).toBeLessThan(100);
  expect(remaining_s).toBeGreaterThan(90);
});

test("another client of the same person takes over, and the first does not fight", async () => {
  const { key } = await service.account(100);
  const first = await new Person(key).on();
  const second = await new Person(key).on();
  expect(second.client.status.superseded).toBe(true);
  expect(await first.until(({ phase }) => phase === "off")).toMatchObject({ endReason: "superseded" });
  await second.beats(2);
  expect(first.acts.filter((path) => path === "/v1/activate")).toHaveLength(1);
  first.client.stop();
  second.client.stop();
  await second.until(({ phase }) => phase === "off");
});

test("an empty tank refuses the activation; a tank that runs dry ends the session", async () => {
  const { key } = await service.account(0);
  const poor = new Person(key);
  poor.client.activate();
  expect(await poor.until(({ failure }) => failure !== undefined)).toMatchObject({ phase: "off", failure: { status: 402, code: "tank_empty" } });
  const frugal = await new Person((await service.account(2)).key).on();
  expect(await frugal.until(({ phase }) => phase === "off")).toMatchObject({ endReason: "exhausted" });
});

test("credit that comes during a session shows in the next ack", async () => {
  const { account, key } = await service.account(50);
  const person = await new Person(key).on();
  expect((await person.until(({ remainingMs }) => remainingMs! < 51_000)).lowCredit).toBe(false);
  await person.until(({ lowCredit }) => lowCredit);
  await service.credit(account, 1_000);
  const after = await person.until(({ remainingMs }) => remainingMs! > 900_000);
  expect(after).toMatchObject({ phase: "on", lowCredit: false });
  person.client.stop();
  await person.until(({ phase }) => phase === "off");
});

test("a program that is stopped goes on from its snapshot: the session is the same", async () => {
  const { key } = await service.account(100);
  const before = await new Person(key).on();
  await before.beats(1);
  const token = before.client.token;
  before.client.close();
  const after = new Person(key, { restore: before.snapshot });
  expect(after.client.token).toBe(token);
  await after.beats(2);
  expect(after.acts).not.toContain("/v1/activate");
  after.client.stop();
  expect(await after.until(({ phase }) => phase === "off")).toMatchObject({ endReason: "deactivated" });
});

test("a wrong key is told, and nothing more is asked", async () => {
  const person = new Person("gtk_nobody");
  person.client.activate();
  expect(await person.until(({ failure }) => failure !== undefined)).toMatchObject({ failure: { status: 401, code: "bad_credentials" } });
  expect(person.acts).toEqual(["/v1/activate"]);
});

test("renewals replace the token while the session goes on", async () => {
  const brief = await TestService.start({ GASTANK_TOKEN_MAX_TTL_S: "3", GASTANK_TOKEN_RENEW_BEFORE_S: "2" });
  try {
    const person = await new Person((await brief.account(100)).key, { service: brief.http }).on();
    const first = person.client.token;
    await person.until(() => person.client.token !== first);
    expect(person.client.status.phase).toBe("on");
    person.client.stop();
    await person.until(({ phase }) => phase === "off");
  } finally {
    await brief.stop();
  }
});

test("a service that is away and comes back finds the session alive, and the token was kept", async () => {
  const other = await TestService.start();
  try {
    const person = await new Person((await other.account(100)).key, { service: other.http }).on();
    await person.beats(2);
    const token = person.client.token;
    await other.kill();
    await person.until(({ silences }) => silences >= 2);
    expect(person.client.token).toBe(token);
    await other.restart();
    await person.until(({ silences }) => silences === 0);
    expect(person.client.status).toMatchObject({ phase: "on", contact: "valid" });
    expect(person.acts.filter((path) => path === "/v1/activate")).toHaveLength(1);
    person.client.stop();
    expect(await person.until(({ phase }) => phase === "off")).toMatchObject({ endReason: "deactivated" });
  } finally {
    await other.stop();
  }
});

test("the example of the README works", async () => {
  const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8");
  const [, example] = /```js\n(import [^]*?)```/.exec(readme)!;
  const file = fileURLToPath(new URL("../dist/example.mjs", import.meta.url));
  writeFileSync(file, example!.replace("60_000", "1_000"));
  const env = { ...process.env, SERVICE: service.http, ACCOUNT_KEY: (await service.account(100)).key };
  const { stdout } = await promisify(execFile)("node", [file], { env, timeout: 20_000 });
  expect(stdout).toMatch(/^activating /m);
  expect(stdout).toMatch(/^on \d+ undefined ey/m);
  expect(stdout.trimEnd()).toMatch(/^off .*deactivated .*$/m);
});

test.each(["http://tank.example.org", "ftp://127.0.0.1", "https://me:you@tank.example.org", "https://tank.example.org/?a=b", "tank"])(
  "%s is no place to send secrets to",
  (place) => {
    expect(() => new HeartbeatClient({ service: place, credential: () => "" })).toThrow(TypeError);
  },
);
