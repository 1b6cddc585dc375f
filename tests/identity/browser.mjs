// A browser as far as these tests need one: it keeps cookies, and follows no redirect by itself.
export const browser = () => {
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
  return Object.assign(ask, { cookies });
};
