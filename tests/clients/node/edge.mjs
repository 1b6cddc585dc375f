// Runs the Cloudflare Worker example under Node against a running service, and against a clock and a network of its own.
//
//   node edge.mjs '{"issuer":…,"audience":…,"client_id":…,"client_secret":…,"token":…}'
//
// The token is revoked by introspection's neighbour on the way. Ends with 1 on anything unexpected.

import assert from "node:assert/strict";
import { deflateSync } from "node:zlib";

import worker, { Edge, Refused, Unavailable } from "../../../deploy/cloudflare-worker/worker.js";

const asked = JSON.parse(process.argv[2]);
const env = {
  ISSUER: asked.issuer,
  AUDIENCE: asked.audience,
  CLIENT_ID: asked.client_id,
  CLIENT_SECRET: asked.client_secret,
};
const { token } = asked;
const request = (bearer) =>
  new Request("https://proxy.test/page?x=1", { headers: bearer ? { authorization: `Bearer ${bearer}` } : {} });
const status = async (bearer, settings = env) => (await worker.fetch(request(bearer), settings)).status;
const encode = (value) => Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url");

await againstTheService();
await inAnOutage();
await byStatusList();
await floods();
console.log(JSON.stringify({ ok: true }));

async function againstTheService() {
  assert.equal(await status(token), 204);
  assert.equal(await status(undefined), 401);
  const [header, payload, signature] = token.split(".");
  const claims = JSON.parse(Buffer.from(payload, "base64url"));
  const bad = {
    "the signature": `${header}.${payload}.${signature.slice(0, -4)}AAAA`,
    "a claim": `${header}.${encode({ ...claims, exp: claims.exp + 1 })}.${signature}`,
    none: `${encode({ alg: "none", typ: "at+jwt" })}.${payload}.`,
    HS256: `${encode({ ...JSON.parse(Buffer.from(header, "base64url")), alg: "HS256" })}.${payload}.${signature}`,
    jku: `${encode({ ...JSON.parse(Buffer.from(header, "base64url")), jku: "http://127.0.0.1:1/" })}.${payload}.${signature}`,
    "no kid": `${encode({ alg: "ES256", typ: "at+jwt" })}.${payload}.${signature}`,
    nonsense: "a.b.c",
    "an inherited name": `${encode({ alg: "constructor", typ: "at+jwt" })}.${payload}.${signature}`,
  };
  for (const [what, forged] of Object.entries(bad)) assert.equal(await status(forged), 401, what);
  assert.equal(await status(token, { ...env, AUDIENCE: "other" }), 401);
  // The token names a status list: nobody has to be asked, and no credentials are needed.
  assert.equal(await status(token, { ...env, CLIENT_ID: "x" }), 204);

  const metadata = await (await fetch(`${env.ISSUER}/.well-known/oauth-authorization-server`)).json();
  const revoked = await fetch(metadata.revocation_endpoint, {
    method: "POST",
    headers: { authorization: `Basic ${btoa(`${env.CLIENT_ID}:${env.CLIENT_SECRET}`)}` },
    body: new URLSearchParams({ token }),
  });
  assert.equal(revoked.status, 200);
  // The list says so within its time to live; the test's service has made that short.
  const deadline = Date.now() + 20_000;
  while ((await status(token)) !== 401) {
    assert.ok(Date.now() < deadline, "the list never says that the token was revoked");
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

/** An issuer in memory: what it signs, publishes and says can be chosen. */
async function issuer({ now, ttl = 60, lives = 300 }) {
  const pair = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, true, ["sign", "verify"]);
  const jwk = { ...(await crypto.subtle.exportKey("jwk", pair.publicKey)), kid: "k", alg: "ES256", use: "sig" };
  const sign = async (typ, claims, header = {}) => {
    const head = `${encode({ alg: "ES256", typ, kid: "k", ...header })}.${encode(claims)}`;
    const signature = await crypto.subtle.sign({ name: "ECDSA", hash: "SHA-256" }, pair.privateKey, Buffer.from(head));
    return `${head}.${Buffer.from(signature).toString("base64url")}`;
  };
  const iss = "https://tank.test";
  const uri = `${iss}/oauth/status/1`;
  const state = { down: false, active: true, bytes: new Uint8Array([0b00000010, 0]), fetched: {} };
  const answer = async (url) => {
    state.fetched[url] = (state.fetched[url] ?? 0) + 1;
    if (state.down) throw new TypeError("no route to host");
    const json = (value) => Response.json(value, { headers: { "cache-control": "max-age=300" } });
    if (url === `${iss}/.well-known/oauth-authorization-server`) {
      return json({ issuer: iss, jwks_uri: `${iss}/jwks`, introspection_endpoint: `${iss}/introspect` });
    }
    if (url === `${iss}/jwks`) return json({ keys: [jwk] });
    if (url === `${iss}/introspect`) return json({ active: state.active });
    assert.equal(url, uri);
    const lst = deflateSync(state.bytes).toString("base64url");
    const iat = Math.floor(now() / 1000);
    return new Response(await sign("statuslist+jwt", { sub: uri, iat, exp: iat + lives, ttl, status_list: { bits: 1, lst } }));
  };
  const token = (claims = {}, header = {}) => {
    const iat = Math.floor(now() / 1000);
    return sign("at+jwt", { jti: "x", iss, aud: "edge", sub: "s", client_id: "c", iat, exp: iat + 7200, ...claims }, header);
  };
  const listed = (idx, at = uri) => token({ status: { status_list: { idx, uri: at } } });
  return { env: { ISSUER: iss, AUDIENCE: "edge", CLIENT_ID: "c", CLIENT_SECRET: "s" }, state, answer, token, listed, uri };
}

function clock() {
  let ms = 1_700_000_000_000;
  return { now: () => ms, step: (seconds) => (ms += seconds * 1000) };
}

async function inAnOutage() {
  const time = clock();
  const tank = await issuer(time);
  const edge = (settings) => new Edge({ ...tank.env, ...settings }, { fetch: tank.answer, now: time.now });
  const [closed, open] = [edge({}), edge({ OUTAGE_POLICY: "open", OUTAGE_SECONDS: "120" })];
  const token = await tank.token();
  for (const one of [closed, open]) assert.equal((await one.decide(token)).sub, "s");
  tank.state.down = true;
  await assert.rejects(closed.decide(token), Unavailable);
  await open.decide(token);
  const answer = await closed.answer(request(token));
  assert.deepEqual([answer.status, answer.headers.get("retry-after")], [503, "5"]);
  time.step(119);
  await open.decide(token);
  time.step(2);
  await assert.rejects(open.decide(token), Unavailable);
  await assert.rejects(edge({ OUTAGE_POLICY: "open" }).decide(token), Unavailable, "it has never been able to ask");
  tank.state.down = false;
  await open.decide(token);
  tank.state.active = false;
  await assert.rejects(open.decide(token), Refused);
}

async function byStatusList() {
  const time = clock();
  const tank = await issuer(time);
  const edge = new Edge(tank.env, { fetch: tank.answer, now: time.now });
  const [good, dead, outside] = await Promise.all([tank.listed(0), tank.listed(1), tank.listed(16)]);
  await edge.decide(good);
  await assert.rejects(edge.decide(dead), Refused);
  await assert.rejects(edge.decide(outside), Refused);
  await assert.rejects(edge.decide(await tank.listed(0, "https://elsewhere.test/list")), Refused);
  await assert.rejects(edge.decide(await tank.listed(-1)), Refused);
  assert.equal(tank.state.fetched[tank.uri], 1, "it is cached");
  tank.state.bytes = new Uint8Array([0b00000011, 0]);
  await edge.decide(good);
  time.step(61);
  await assert.rejects(edge.decide(good), Refused, "its ttl is over");
  // In an outage the list counts until it expires, for what is good as for what is not.
  const other = await tank.listed(2);
  tank.state.down = true;
  time.step(200);
  await edge.decide(other);
  await assert.rejects(edge.decide(good), Refused);
  time.step(101);
  await assert.rejects(edge.decide(other), Unavailable);
  tank.state.down = false;
  await edge.decide(other);
}

async function floods() {
  const time = clock();
  const tank = await issuer(time);
  const edge = new Edge(tank.env, { fetch: tank.answer, now: time.now });
  await edge.decide(await tank.token());
  for (let n = 0; n < 50; n++) {
    await assert.rejects(edge.decide(await tank.token({}, { kid: `made up ${n}` })), Refused);
  }
  assert.equal(tank.state.fetched["https://tank.test/jwks"], 1, "unknown key ids do not make it ask");
  time.step(31);
  for (let n = 0; n < 50; n++) {
    await assert.rejects(edge.decide(await tank.token({}, { kid: `made up ${n}` })), Refused);
  }
  assert.equal(tank.state.fetched["https://tank.test/jwks"], 2);
}
