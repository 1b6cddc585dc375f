// A sibling service: Express with express-openid-connect.
//
// It is started with ISSUER, CLIENT_ID, CLIENT_SECRET and PORT, prints {"listening": "..."} when it does, and ends with its
// standard input.
import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';

import express from 'express';
import { auth } from 'express-openid-connect';

// Who has been logged out. Several processes need one that they share, such as connect-redis.
const loggedOut = new Map();
const store = {
  get: (name, done) => done(null, loggedOut.get(name)),
  set: (name, logout, done) => done(null, loggedOut.set(name, logout)),
  destroy: (name, done) => done(null, loggedOut.delete(name)),
};

const app = express();
const server = createServer(app);
await new Promise((listens) => server.listen(process.env.PORT, '127.0.0.1', listens));
const baseURL = `http://127.0.0.1:${server.address().port}`;

app.use(
  auth({
    issuerBaseURL: process.env.ISSUER,
    clientID: process.env.CLIENT_ID,
    clientSecret: process.env.CLIENT_SECRET,
    baseURL,
    secret: randomBytes(32).toString('hex'),
    idTokenSigningAlg: 'ES256',
    authorizationParams: { response_type: 'code', scope: 'openid profile email' },
    backchannelLogout: { store },
  }),
);

// Asks whether the person is still signed in. What is thrown says nothing about the person.
const introspect = async (handle) => {
  const pair = `${process.env.CLIENT_ID}:${process.env.CLIENT_SECRET}`;
  const answer = await fetch(`${process.env.ISSUER}/oauth/introspect`, {
    method: 'POST',
    headers: { authorization: `Basic ${Buffer.from(pair).toString('base64')}` },
    body: new URLSearchParams({ token: handle }),
    signal: AbortSignal.timeout(5000),
  });
  if (!answer.ok) throw new Error(`the hub answers ${answer.status}`);
  return answer.json();
};

app.get('/', async (request, response) => {
  const { sub, name, email } = await request.oidc.fetchUserInfo();
  response.json({ sub, name, email });
});

app.get('/check', async (request, response) => {
  response.json(await introspect(request.oidc.accessToken.access_token));
});

app.use((error, request, response, _next) => {
  response.status(error.status ?? 500).json({ error: error.message, said: error.error });
});

process.stdout.write(`${JSON.stringify({ listening: baseURL })}\n`);
process.stdin.resume().on('end', () => process.exit(0));
