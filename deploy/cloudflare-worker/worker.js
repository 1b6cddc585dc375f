// An edge for gastank, as a Cloudflare Worker: lets a request through if it carries a good token, and passes it on.
//
// Only WebCrypto and fetch, no dependencies: it runs in Workers, in Node 20 and in browsers. How it decides:
//
//   1. The token's signature, issuer, audience, type and expiry, with the issuer's published keys. This turns garbage away
//      without asking anyone.
//   2. Whether the token is still good: by the status list it names, if it names one, and otherwise by introspection.
//      `exp` is only an upper bound: a token dies much earlier when its client falls silent or another one takes over.
//   3. If nobody can be asked, by OUTAGE_POLICY, for OUTAGE_SECONDS at most, and never for a token that has expired.
//
// Settings (wrangler.toml [vars], the secret with `wrangler secret put`):
//   ISSUER         the `iss` of tokens, such as https://tank.example.org
//   AUDIENCE       the audience this edge was registered for
//   CLIENT_ID      from `gastank edge add`
//   CLIENT_SECRET  from `gastank edge add`
//   ORIGIN         optional: where good requests go; without it, they are answered 204
//   OUTAGE_POLICY  "closed" (default): answer 503. "open": let tokens with a good signature through
//   OUTAGE_SECONDS how long "open" holds after the last time anybody could be asked; 300 by default

const ALGORITHMS = {
  ES256: { key: { name: "ECDSA", namedCurve: "P-256" }, sign: { name: "ECDSA", hash: "SHA-256" } },
  RS256: { key: { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" }, sign: { name: "RSASSA-PKCS1-v1_5" } },
  EdDSA: { key: { name: "Ed25519" }, sign: { name: "Ed25519" } },
};
const MAX_TOKEN = 8192;
const MAX_LIST = 4 * 1024 * 1024;
const TIMEOUT_MS = 3000;
const LEEWAY_S = 5;
/** Unknown key ids make us fetch the keys again, but not more often than this. */
const REFETCH_MS = 30_000;

/** The token is not good. The message is for logs, and never goes to the client. */
export class Refused extends Error {}
/** Nobody could be asked. This says nothing about the token. */
export class Unavailable extends Error {}

export default {
  async fetch(request, env) {
    edges.for(env) ?? edges.add(env);
    return edges.for(env).answer(request);
  },
};

/** One edge for each configuration: what it caches lives as long as the isolate does. */
const edges = {
  known: new Map(),
  for(env) {
    return this.known.get(`${env.ISSUER} ${env.AUDIENCE} ${env.CLIENT_ID}`);
  },
  add(env) {
    this.known.set(`${env.ISSUER} ${env.AUDIENCE} ${env.CLIENT_ID}`, new Edge(env));
  },
};

/** Decides about requests. `fetch` and `now` (in ms) can be replaced, for tests. */
export class Edge {
  constructor(env, { fetch = (...asked) => globalThis.fetch(...asked), now = () => Date.now() } = {}) {
    this.env = env;
    this.fetch = fetch;
    this.now = now;
    this.documents = new Map();
    this.lists = new Map();
    this.lastAnswer = undefined;
  }

  async answer(request) {
    const token = bearer(request);
    if (!token) return new Response("a token is required\n", { status: 401, headers: challenge() });
    try {
      await this.decide(token);
    } catch (error) {
      if (error instanceof Refused) {
        return new Response("the token is not good\n", { status: 401, headers: challenge("invalid_token") });
      }
      if (error instanceof Unavailable) {
        return new Response("tokens cannot be checked now\n", { status: 503, headers: { "retry-after": "5" } });
      }
      throw error;
    }
    if (!this.env.ORIGIN) return new Response(null, { status: 204 });
    const asked = new URL(request.url);
    const onward = new Request(new URL(asked.pathname + asked.search, this.env.ORIGIN), request);
    // The token was for us.
    onward.headers.delete("authorization");
    return this.fetch(onward);
  }

  /** Returns the claims of a good token; throws {@link Refused} or {@link Unavailable}. */
  async decide(token) {
    const claims = await this.verify(token);
    try {
      await this.stillGood(token, claims);
      this.lastAnswer = this.now();
    } catch (error) {
      if (!(error instanceof Unavailable)) throw error;
      this.inAnOutage(error);
    }
    return claims;
  }

  /** The outage policy, the one place for it. */
  inAnOutage(error) {
    const seconds = Number(this.env.OUTAGE_SECONDS ?? 300);
    const since = this.lastAnswer === undefined ? Infinity : (this.now() - this.lastAnswer) / 1000;
    if (this.env.OUTAGE_POLICY !== "open" || since > seconds) throw error;
  }

  /** The claims of a token that was signed by the issuer for this edge and has not expired. */
  async verify(token) {
    const parts = token.length <= MAX_TOKEN ? token.split(".") : [];
    if (parts.length !== 3) throw new Refused("not a JWT");
    const header = json(parts[0]);
    const claims = json(parts[1]);
    const algorithm = Object.hasOwn(ALGORITHMS, header.alg) ? ALGORITHMS[header.alg] : undefined;
    if (!algorithm) throw new Refused("algorithm");
    if (!/^(application\/)?at\+jwt$/i.test(header.typ ?? "")) throw new Refused("type");
    if (header.crit !== undefined) throw new Refused("crit");
    if (claims.iss !== this.env.ISSUER) throw new Refused("issuer");
    if (![claims.aud].flat().includes(this.env.AUDIENCE)) throw new Refused("audience");
    const now = this.now() / 1000;
    if (!(claims.exp > now)) throw new Refused("expired");
    if (claims.iat > now + LEEWAY_S || claims.nbf > now + LEEWAY_S) throw new Refused("not yet valid");
    await this.checkSignature(parts, header, algorithm);
    return claims;
  }

  async checkSignature(parts, header, algorithm) {
    const jwk = await this.key(header.kid);
    // A key is for one algorithm, whatever the token says.
    if (!jwk || jwk.alg !== header.alg) throw new Refused("key");
    const { kty, crv, x, y, n, e } = jwk;
    const material = JSON.parse(JSON.stringify({ kty, crv, x, y, n, e }));
    const key = await crypto.subtle.importKey("jwk", material, algorithm.key, false, ["verify"]);
    const signed = new TextEncoder().encode(`${parts[0]}.${parts[1]}`);
    const good = await crypto.subtle.verify(algorithm.sign, key, bytes(parts[2]), signed);
    if (!good) throw new Refused("signature");
  }

  /** The published key of that name. Keys are never fetched from where a token says. */
  async key(kid) {
    if (typeof kid !== "string") return undefined;
    const { jwks_uri } = await this.metadata();
    const find = (set) => set.keys.find((key) => key.kid === kid);
    const set = await this.document(jwks_uri, 300);
    return find(set) ?? find(await this.document(jwks_uri, 300, REFETCH_MS));
  }

  async metadata() {
    const issuer = new URL(this.env.ISSUER);
    const path = issuer.pathname === "/" ? "" : issuer.pathname;
    const metadata = await this.document(`${issuer.origin}/.well-known/oauth-authorization-server${path}`, 3600);
    if (metadata.issuer !== this.env.ISSUER) throw new Unavailable("the metadata is of another issuer");
    return metadata;
  }

  /**
   * A JSON document, cached for as long as it says, and `seconds` if it does not say. If it cannot be fetched again, the
   * last good one is kept. `olderThan` fetches it again before its time, if it is older than so many ms.
   */
  async document(url, seconds, olderThan = Infinity) {
    const cached = this.documents.get(url);
    const age = cached ? this.now() - cached.fetched : Infinity;
    if (cached && age < Math.min(cached.lives, olderThan)) return cached.value;
    try {
      const response = await this.ask(url);
      if (response.status !== 200) throw new Unavailable(`${url}: ${response.status}`);
      const said = /max-age=(\d+)/.exec(response.headers.get("cache-control") ?? "");
      const lives = 1000 * (said ? Number(said[1]) : seconds);
      const value = await response.json();
      this.documents.set(url, { value, lives, fetched: this.now() });
      return value;
    } catch (error) {
      if (cached) return cached.value;
      throw error instanceof Unavailable ? error : new Unavailable(`${url}: ${error}`);
    }
  }

  /** Whether the issuer still vouches for a token that it has signed. */
  async stillGood(token, claims) {
    const named = claims.status?.status_list;
    if (named) {
      try {
        return await this.byStatusList(named);
      } catch (error) {
        if (!(error instanceof Unavailable)) throw error;
        // The list cannot be had: ask about this one token.
      }
    }
    return this.byIntrospection(token);
  }

  /** Asks the issuer (RFC 7662). */
  async byIntrospection(token) {
    const { introspection_endpoint } = await this.metadata();
    const secret = btoa(`${encodeURIComponent(this.env.CLIENT_ID)}:${encodeURIComponent(this.env.CLIENT_SECRET)}`);
    const response = await this.ask(introspection_endpoint, {
      method: "POST",
      headers: { authorization: `Basic ${secret}` },
      body: new URLSearchParams({ token }),
    });
    // Anything but 200 is about us or the service, never about the token.
    if (response.status !== 200) throw new Unavailable(`introspection: ${response.status}`);
    if ((await response.json()).active !== true) throw new Refused("not active");
  }

  /** Looks at the token's bit in its status list (Token Status List), which is cached for its `ttl`. */
  async byStatusList({ uri, idx }) {
    // The list says whether tokens are good: it has to be the issuer's own, wherever a token points.
    if (typeof uri !== "string" || new URL(uri).origin !== new URL(this.env.ISSUER).origin) throw new Refused("list");
    if (!Number.isSafeInteger(idx) || idx < 0) throw new Refused("index");
    const { bits, list } = await this.statusList(uri);
    const at = (idx * bits) >> 3;
    if (at >= list.length) throw new Refused("index");
    const status = (list[at] >> ((idx * bits) & 7)) & ((1 << bits) - 1);
    if (status !== 0) throw new Refused(`status ${status}`);
  }

  async statusList(uri) {
    const cached = this.lists.get(uri);
    const now = this.now() / 1000;
    if (cached && now < cached.fresh) return cached;
    try {
      const fetched = await this.fetchStatusList(uri, now);
      this.lists.set(uri, fetched);
      return fetched;
    } catch (error) {
      // An old list still counts until it expires, and no longer.
      if (error instanceof Unavailable && cached && now < cached.expires) return cached;
      throw error instanceof Refused ? new Unavailable(`${uri}: ${error.message}`) : error;
    }
  }

  async fetchStatusList(uri, now) {
    const response = await this.ask(uri, { headers: { accept: "application/statuslist+jwt" } });
    if (response.status !== 200) throw new Unavailable(`${uri}: ${response.status}`);
    const parts = (await response.text()).trim().split(".");
    if (parts.length !== 3) throw new Unavailable(`${uri}: not a JWT`);
    const header = json(parts[0]);
    const claims = json(parts[1]);
    const algorithm = Object.hasOwn(ALGORITHMS, header.alg) ? ALGORITHMS[header.alg] : undefined;
    if (!algorithm || header.typ !== "statuslist+jwt" || claims.sub !== uri) throw new Unavailable(`${uri}: not this list`);
    await this.checkSignature(parts, header, algorithm);
    const { bits, lst } = claims.status_list ?? {};
    if (![1, 2, 4, 8].includes(bits)) throw new Unavailable(`${uri}: bits`);
    const expires = claims.exp ?? now + 300;
    if (expires <= now) throw new Unavailable(`${uri}: expired`);
    return { bits, list: await inflate(bytes(lst)), fresh: Math.min(now + (claims.ttl ?? 60), expires), expires };
  }

  async ask(url, init = {}) {
    try {
      return await this.fetch(url, { redirect: "manual", signal: AbortSignal.timeout(TIMEOUT_MS), ...init });
    } catch (error) {
      throw new Unavailable(`${url}: ${error}`);
    }
  }
}

/** Inflates zlib data (RFC 1950), up to MAX_LIST bytes. */
async function inflate(data) {
  const reader = new Blob([data]).stream().pipeThrough(new DecompressionStream("deflate")).getReader();
  const chunks = [];
  let length = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    length += value.length;
    if (length > MAX_LIST) throw new Unavailable("the list is too long");
    chunks.push(value);
  }
  const all = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    all.set(chunk, at);
    at += chunk.length;
  }
  return all;
}

function bearer(request) {
  const [, token] = /^bearer +([A-Za-z0-9._~+/=-]+)$/i.exec(request.headers.get("authorization") ?? "") ?? [];
  return token;
}

function challenge(error) {
  return { "www-authenticate": error ? `Bearer error="${error}"` : "Bearer", "cache-control": "no-store" };
}

function json(part) {
  try {
    const value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes(part)));
    if (typeof value === "object" && value !== null) return value;
  } catch {
    // Said below.
  }
  throw new Refused("not JSON");
}

function bytes(text) {
  if (typeof text !== "string" || !/^[A-Za-z0-9_-]*$/.test(text)) throw new Refused("not base64url");
  try {
    return Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (one) => one.charCodeAt(0));
  } catch {
    throw new Refused("not base64url");
  }
}
