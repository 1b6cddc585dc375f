// Signs somebody in to the pages of a service with a real provider, lets something happen there, and tells what the account page is
// answered before and after.
//
//   node hub-sign-out.mjs SERVICE PROVIDER NAME           they sign out at the provider
//   node hub-sign-out.mjs SERVICE PROVIDER NAME EVENT     the provider tells of an event: what `POST /tell` takes, in JSON
import { browser } from './browser.mjs';

const [service, provider, name, event] = process.argv.slice(2);

const signIn = async (ask) => {
  let url = `${service}/account`;
  for (let hops = 0; hops < 20; hops += 1) {
    const response = await ask(url);
    let to = response.headers.get('location');
    if (response.status === 200) {
      if (new URL(url).origin === new URL(service).origin) return;
      const page = await response.text();
      const [, action] = /action="([^"]+)"/.exec(page);
      const [, prompt] = /name="prompt" value="([^"]+)"/.exec(page);
      to = (await ask(new URL(action, url), { prompt, login: name, password: 'any' })).headers.get('location');
    }
    if (!to) throw new Error(`no way on from ${url}: ${response.status} ${await response.text()}`);
    url = new URL(to, url).href;
  }
  throw new Error('too many hops');
};

const signOut = async (ask) => {
  const page = await (await ask(`${provider}/session/end`)).text();
  const [, action] = /action="([^"]+)"/.exec(page);
  const [, xsrf] = /name="xsrf" value="([^"]+)"/.exec(page);
  const confirmed = await ask(action, { xsrf, logout: 'yes' });
  if (confirmed.status >= 400) throw new Error(`${confirmed.status} ${await confirmed.text()}`);
};

const account = async (ask) => (await ask(`${service}/account`)).status;

const [one, other] = [browser(), browser()];
await signIn(one);
await signIn(other);
const before = [await account(one), await account(other)];
if (event) {
  const told = await (await fetch(`${provider}/tell`, { method: 'POST', body: event })).json();
  if (told.status >= 300) throw new Error(JSON.stringify(told));
} else await signOut(one);
const after = [await account(one), await account(other)];
await signIn(one);
process.stdout.write(JSON.stringify({ before, after, again: await account(one) }));
