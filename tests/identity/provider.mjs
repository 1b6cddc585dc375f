// A real OpenID provider on the loopback interface, for the tests of sign-in.
//
//   node provider.mjs [REDIRECT_URI]     prints {"issuer": "..."} when it listens, and ends with its standard input
//
// With a redirect URI, the client `hub` signs people in to the pages there. People sign in under any name, as in `oidc-provider`'s development screens. Access tokens are JWTs for the resource
// `urn:gastank`, signed with one of several keys.
//
// `oidc-provider` sends no account events. `POST /tell` beside it has one signed with the provider's own key and sent, in
// either form of delivery: {"alg", "form": "bearer" | "push", "to", "claims"}. Only the keys are the provider's then, and
// where they are found.
import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';

import { SignJWT, importJWK } from 'jose';
import Provider from 'oidc-provider';

const RESOURCE = 'urn:gastank';
const [callback] = process.argv.slice(2);

const jwk = (type, options, alg) => {
  const { privateKey } = generateKeyPairSync(type, options);
  return { ...privateKey.export({ format: 'jwk' }), alg, use: 'sig', kid: alg };
};

const keys = [
  jwk('rsa', { modulusLength: 2048 }, 'RS256'),
  jwk('rsa', { modulusLength: 2048 }, 'PS256'),
  jwk('ec', { namedCurve: 'P-256' }, 'ES256'),
  jwk('ed25519', {}, 'EdDSA'),
];

const machine = (alg) => ({
  client_id: `machine-${alg}`,
  client_secret: 'a secret of the tests',
  grant_types: ['client_credentials'],
  redirect_uris: [],
  response_types: [],
});

const configuration = {
  // Without the agent that refuses this machine.
  fetch: (url, { dispatcher, ...options }) => fetch(url, options),
  clients: [
    ...keys.map(({ alg }) => machine(alg)),
    {
      client_id: 'browser',
      token_endpoint_auth_method: 'none',
      grant_types: ['authorization_code'],
      response_types: ['code'],
      redirect_uris: ['http://127.0.0.1:1/callback'],
      application_type: 'native',
    },
    ...(callback
      ? [
          {
            client_id: 'hub',
            client_secret: 'a secret: of the tests+',
            grant_types: ['authorization_code'],
            response_types: ['code'],
            redirect_uris: [callback],
            backchannel_logout_uri: new URL('/hooks/backchannel-logout', callback).href,
            backchannel_logout_session_required: true,
          },
        ]
      : []),
  ],
  jwks: { keys },
  cookies: { keys: ['a cookie key of the tests'] },
  enabledJWA: { idTokenSigningAlgValues: keys.map(({ alg }) => alg) },
  claims: { openid: ['sub', 'sid'], profile: ['name'], email: ['email', 'email_verified'] },
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({ sub: id, name: `${id} of the tests`, email: `${id}@example.org`, email_verified: true }),
  }),
  features: {
    backchannelLogout: { enabled: true },
    clientCredentials: { enabled: true },
    devInteractions: { enabled: true },
    resourceIndicators: {
      enabled: true,
      // An access token that is for a resource does not open the userinfo endpoint.
      defaultResource: (_, client) => (client.clientId === 'hub' ? undefined : RESOURCE),
      useGrantedResource: () => true,
      getResourceServerInfo: (_, indicator, client) => ({
        scope: 'tank other',
        audience: 'gastank',
        accessTokenTTL: 300,
        accessTokenFormat: indicator === RESOURCE ? 'jwt' : 'opaque',
        jwt: { sign: { alg: client.clientId.startsWith('machine-') ? client.clientId.slice(8) : 'RS256' } },
      }),
    },
  },
};

const sign = async (claims, alg) => {
  const key = keys.find((one) => one.alg === alg);
  return new SignJWT(claims).setProtectedHeader({ alg, kid: key.kid }).sign(await importJWK(key, alg));
};

const tell = async ({ alg, form, to, claims }) => {
  const token = await sign(claims, alg);
  // Firefox Accounts sends no body at all (not even the type of one); RFC 8935 has the token as the body.
  const how =
    form === 'bearer'
      ? { headers: { authorization: `Bearer ${token}` } }
      : { headers: { 'content-type': 'application/secevent+jwt', accept: 'application/json' }, body: token };
  const answered = await fetch(to, { method: 'POST', ...how });
  return { status: answered.status, body: await answered.text() };
};

const server = createServer(async (request, response) => {
  if (request.url !== '/tell') return answer(request, response);
  let asked = '';
  for await (const chunk of request) asked += chunk;
  response.end(JSON.stringify(await tell(JSON.parse(asked))));
});
let answer;
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  answer = new Provider(issuer, configuration).callback();
  process.stdout.write(`${JSON.stringify({ issuer })}\n`);
});
process.stdin.resume().on('end', () => process.exit(0));
