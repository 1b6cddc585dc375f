// Signs somebody in to the pages of a service as a browser would: to the provider, its login page, its consent page, and back.
//
//   node hub-sign-in.mjs SERVICE NAME     prints what the account page shows, and what a second answer to the same sign-in gets
import { browser } from './browser.mjs';

const [service, name] = process.argv.slice(2);
const ask = browser();

let url = `${service}/account`;
let callback;
for (let hops = 0; hops < 20; hops += 1) {
  if (url.startsWith(`${service}/sign-in/callback`)) callback = url;
  const response = await ask(url);
  if (response.status === 200) {
    const page = await response.text();
    if (new URL(url).origin === new URL(service).origin) {
      const [, who] = /<form class="who"[^]*?<span>([^<]*)<\/span>/.exec(page);
      const again = await ask(callback);
      const elsewhere = await browser()(callback);
      const headers = Object.fromEntries(response.headers);
      process.stdout.write(JSON.stringify({ who, again: again.status, elsewhere: elsewhere.status, headers, cookies: [...ask.cookies.keys()].sort() }));
      process.exit(0);
    }
    const [, action] = /action="([^"]+)"/.exec(page);
    const [, prompt] = /name="prompt" value="([^"]+)"/.exec(page);
    const answered = await ask(new URL(action, url), { prompt, login: name, password: 'any' });
    url = new URL(answered.headers.get('location'), url).href;
  } else {
    const to = response.headers.get('location');
    if (!to) throw new Error(`no way on from ${url}: ${response.status} ${await response.text()}`);
    url = new URL(to, url).href;
  }
}
throw new Error('too many hops');
