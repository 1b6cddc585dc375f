// Signs somebody in as a browser would: authorization code with PKCE, the login page, the consent page.
//
//   node sign-in.mjs ISSUER NAME     prints the access token
import { createHash, randomBytes } from 'node:crypto';

const [issuer, name] = process.argv.slice(2);
const CALLBACK = 'http://127.0.0.1:1/callback';
const cookies = new Map();

const ask = async (url, form) => {
  const headers = { cookie: [...cookies].map(([key, value]) => `${key}=${value}`).join('; ') };
  const body = form && new URLSearchParams(form);
  const response = await fetch(new URL(url, issuer), { method: form ? 'POST' : 'GET', headers, body, redirect: 'manual' });
  for (const cookie of response.headers.getSetCookie()) {
    const [, key, value] = /^([^=]+)=([^;]*)/.exec(cookie);
    if (value) cookies.set(key, value);
    else cookies.delete(key);
  }
  return response;
};

const metadata = await (await fetch(`${issuer}/.well-known/openid-configuration`)).json();
const verifier = randomBytes(32).toString('base64url');
const start = new URL(metadata.authorization_endpoint);
start.search = new URLSearchParams({
  client_id: 'browser',
  response_type: 'code',
  redirect_uri: CALLBACK,
  scope: 'openid tank',
  state: 'a state',
  code_challenge: createHash('sha256').update(verifier).digest('base64url'),
  code_challenge_method: 'S256',
});

let code;
let next = start;
for (let hops = 0; !code && hops < 12; hops += 1) {
  const response = await ask(next);
  if (response.status === 200) {
    const page = await response.text();
    const [, action] = /action="([^"]+)"/.exec(page);
    const [, prompt] = /name="prompt" value="([^"]+)"/.exec(page);
    const answered = await ask(action, { prompt, login: name, password: 'any' });
    next = answered.headers.get('location');
  } else {
    next = response.headers.get('location');
  }
  if (!next) throw new Error(`no way on: ${response.status}`);
  if (next.startsWith(CALLBACK)) code = new URL(next).searchParams.get('code');
}
if (!code) throw new Error(`no code: ${next}`);

const answer = await fetch(metadata.token_endpoint, {
  method: 'POST',
  body: new URLSearchParams({
    grant_type: 'authorization_code',
    client_id: 'browser',
    redirect_uri: CALLBACK,
    code,
    code_verifier: verifier,
  }),
});
const tokens = await answer.json();
if (!tokens.access_token) throw new Error(JSON.stringify(tokens));
process.stdout.write(tokens.access_token);
