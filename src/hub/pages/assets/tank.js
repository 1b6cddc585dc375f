// @ts-check
// What pages gain by a script: the tank moves, and times are told by this device's clock. Without it everything works.

const SECOND = 1000;
/** How often the service is asked. */
const ASK_EVERY = 5 * SECOND;
/** Below this the gauge warns. */
const LOW = 300 * SECOND;

/** @typedef {{remaining_ms: number, full_ms: number, draining: boolean}} Tank */

const lang = document.documentElement.lang;

/** @param {number} ms */
const reading = (ms) => {
  const s = Math.floor(ms / SECOND);
  const two = (/** @type {number} */ n) => String(n).padStart(2, '0');
  const [h, m] = [Math.floor(s / 3600), Math.floor(s / 60) % 60];
  return h > 0 ? `${h}:${two(m)}:${two(s % 60)}` : `${m}:${two(s % 60)}`;
};

/** @param {HTMLElement} root */
const follow = (root) => {
  const gauge = root.querySelector('[role=meter]');
  const level = root.querySelector('.level');
  const time = root.querySelector('.time');
  const state = root.querySelector('.state');
  if (!gauge || !level || !time || !state) return;
  const round = Number(level.getAttribute('data-length'));
  const number = (/** @type {string} */ name) => Number(root.dataset[name] ?? 0);

  /** What was left when, by this device's monotonic clock. @type {Tank & {at: number}} */
  let known = { remaining_ms: number('remaining'), full_ms: number('full'), draining: root.dataset['state'] === 'draining', at: performance.now() };
  const shownDraining = known.draining;

  const show = () => {
    const spent = known.draining ? performance.now() - known.at : 0;
    const left = Math.max(0, known.remaining_ms - spent);
    const share = known.full_ms > 0 ? Math.min(1, left / known.full_ms) : 0;
    const text = reading(left);
    time.textContent = text;
    time.classList.toggle('long', text.length > 5);
    level.setAttribute('stroke-dasharray', `${(round * share).toFixed(2)} ${round}`);
    gauge.setAttribute('aria-valuenow', String(Math.floor(left / SECOND)));
    gauge.setAttribute('aria-valuetext', text);
    const now = left < SECOND ? 'empty' : known.draining ? 'draining' : 'resting';
    if (root.dataset['state'] !== now) {
      root.dataset['state'] = now;
      state.textContent = root.dataset[`text${now[0]?.toUpperCase()}${now.slice(1)}`] ?? '';
    }
    root.toggleAttribute('data-low', left < LOW && known.draining);
  };

  const ask = async () => {
    if (document.hidden) return;
    try {
      const answer = await fetch('/account/tank', { headers: { accept: 'application/json' }, cache: 'no-store' });
      // Signed out elsewhere: the page is somebody's no more.
      if (answer.status === 401) return location.reload();
      if (!answer.ok) return;
      /** @type {Tank} */
      const tank = await answer.json();
      // The rest of the page tells of a session that began or ended.
      if (tank.draining !== shownDraining) return location.reload();
      known = { ...tank, at: performance.now() };
      show();
    } catch {
      // No network: what is shown goes on by what was known.
    }
  };

  show();
  setInterval(show, SECOND);
  setInterval(ask, ASK_EVERY);
  document.addEventListener('visibilitychange', ask);
};

const relative = new Intl.RelativeTimeFormat(lang, { numeric: 'auto', style: 'long' });
const absolute = new Intl.DateTimeFormat(lang, { dateStyle: 'medium', timeStyle: 'short' });
/** @type {[Intl.RelativeTimeFormatUnit, number][]} */
const UNITS = [['day', 86400], ['hour', 3600], ['minute', 60], ['second', 1]];

const tellTimes = () => {
  for (const element of document.querySelectorAll('time')) {
    const at = new Date(element.dateTime);
    const s = (at.getTime() - Date.now()) / SECOND;
    const [unit, length] = UNITS.find(([, length]) => Math.abs(s) >= length) ?? ['second', 1];
    element.title = absolute.format(at);
    element.textContent = Math.abs(s) < 7 * 86400 && !element.hasAttribute('data-exact') ? relative.format(Math.trunc(s / length), unit) : absolute.format(at);
  }
};

const root = document.querySelector('[data-tank]');
if (root instanceof HTMLElement) follow(root);
tellTimes();
setInterval(tellTimes, 30 * SECOND);
