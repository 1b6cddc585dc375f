// What the pages of the browser tests share. The id of a test is the first part of its pages' paths.

const kit = {
  id: location.pathname.split("/")[1],

  dump: () => Object.fromEntries(Object.keys(localStorage).map((key) => [key, localStorage.getItem(key)])),

  report(report) {
    return fetch(`/${kit.id}/report`, { method: "POST", body: JSON.stringify(report) });
  },

  /** Calls psicash, and says what its callback was called with, and after how long. */
  call(action, options) {
    const began = performance.now();
    return new Promise((resolve) => {
      psicash(action, options, (...outcome) => resolve({ outcome, ms: performance.now() - began }));
    });
  },

  /** The storage that the service's origin has in a frame of this site, after `set` was written to it. */
  widgetStorage(tank, set = {}) {
    return new Promise((resolve) => {
      const frame = document.createElement("iframe");
      frame.src = `${tank}/frame.html#${encodeURIComponent(JSON.stringify(set))}`;
      addEventListener("message", function hear({ source, data }) {
        if (source !== frame.contentWindow) return;
        removeEventListener("message", hear);
        frame.remove();
        resolve(data);
      });
      document.documentElement.append(frame);
    });
  },

  answerAsFrame() {
    for (const [key, value] of Object.entries(JSON.parse(decodeURIComponent(location.hash.slice(1))))) localStorage.setItem(key, value);
    parent.postMessage(kit.dump(), "*");
  },

  /** Fills storages, then goes on as the plan says. */
  async seed({ tank, page, widget, to }) {
    for (const [key, value] of Object.entries(page)) localStorage.setItem(key, value);
    if (Object.keys(widget).length > 0) await kit.widgetStorage(tank, widget);
    location.replace(to);
  },

  /** Waits until a condition holds, or for as long as it may take. */
  async until(condition, ms = 15_000) {
    const deadline = performance.now() + ms;
    while (!condition() && performance.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 5));
  },
};
window.kit = kit;
