/** A distinguisher names what is rewarded: `host` or `host/path`, without a scheme. */

/** Whether the page at `referrer` may use it. Firefox tells a frame only the origin of its page: then any path will do. */
export function isForPage(distinguisher: string, referrer: URL): boolean {
  const [host, ...path] = distinguisher.split("/");
  return host === referrer.host && (referrer.pathname === "/" || referrer.pathname.startsWith(path.length > 0 ? `/${path.join("/")}` : ""));
}
