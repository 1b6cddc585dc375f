// Signs somebody in to the pages of a service as a browser would: to the provider, its login page, its consent page, and back.
//
//   node hub-sign-in.mjs SERVICE NAME     prints what the account page shows, and what a second answer to the same sign-in gets
const [service, name] = process.argv.slice(2);
const cookies = new Map();

const ask = async (url, form) => {
  const headers = { cookie: [...cookies].map(([key, value]) => `${key}=${value}`).join('; ') };
  const body = form && new URLSearchParams(form);
  const response = await fetch(url, { method: form ? 'POST' : 'GET', headers, body, redirect: 'manual' });
  for (const cookie of response.headers.getSetCookie()) {
    const [, key, value] = /^([^=]+)=([^;]*)/.exec(cookie);
    if (value) cookies.set(key, value);
    else cookies.delete(key);
  }
  return response;
};

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
      const before = new Map(cookies);
      cookies.clear();
      const elsewhere = await ask(callback);
      const headers = Object.fromEntries(response.headers);
      process.stdout.write(JSON.stringify({ who, again: again.status, elsewhere: elsewhere.status, headers, cookies: [...before.keys()].sort() }));
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
