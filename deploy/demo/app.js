// The bar of the app: what its heartbeats have told of the tank. It is there where an app is, as `gastank demo` has one.

const HTML = `
  <div class="inside">
    <p class="who"><span class="dot"></span> <span class="words"></span></p>
    <p class="left"><span class="time"></span> <span class="small">in the tank</span> <span class="change" role="status"></span></p>
    <p class="ways">
      <a href="/app/open/news" rel="noreferrer">Earn</a> <a href="/app/open/shop" rel="noreferrer">Buy</a>
      <button type="button" hidden>Connect</button>
    </p>
  </div>
  <div class="level"></div>`;
/** Changes that are no draining, in seconds. */
const LEAST = 5;

let known;
let full = 0;
let clearing;

const two = (number) => String(number).padStart(2, "0");
const clock = (s) => `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
/** A change to the minute: what drains meanwhile does not show. */
const change = (s) => {
  const minutes = Math.round(Math.abs(s) / 60);
  const text = minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h${minutes % 60 ? ` ${minutes % 60} min` : ""}`;
  return `${s < 0 ? "−" : "+"}${text}`;
};

async function look() {
  const answer = await fetch("/app/tank").catch(() => undefined);
  return answer?.ok ? answer.json() : undefined;
}

function show(bar, tank) {
  const find = (selector) => bar.querySelector(selector);
  const { runs, remaining_s } = tank ?? { runs: false, remaining_s: known ?? 0 };
  full = Math.max(full, remaining_s);
  bar.dataset.state = tank === undefined ? "gone" : runs ? "runs" : "rests";
  find(".words").textContent = tank === undefined ? "The demo is over" : runs ? "The app is connected" : "The app is not connected";
  find(".time").textContent = clock(remaining_s);
  find("button").hidden = tank === undefined || runs;
  find(".level").style.setProperty("--level", full ? remaining_s / full : 0);
  const moved = remaining_s - (known ?? remaining_s);
  if (Math.abs(moved) >= LEAST) {
    const words = find(".change");
    words.textContent = change(moved);
    words.dataset.way = moved < 0 ? "down" : "up";
    clearTimeout(clearing);
    clearing = setTimeout(() => { words.textContent = ""; }, 6_000);
  }
  known = remaining_s;
}

async function begin() {
  const first = await look();
  if (first === undefined) return;
  const bar = document.createElement("aside");
  bar.className = "tank";
  bar.setAttribute("aria-label", "The app");
  bar.innerHTML = HTML;
  bar.querySelector("button").addEventListener("click", () => fetch("/app/tank", { method: "POST", headers: { "Content-Type": "application/json" }, body: "{}" }));
  document.body.append(bar);
  document.body.classList.add("has-app");
  // Nobody has to play the app where there is one.
  document.getElementById("app")?.closest(".card")?.remove();
  show(bar, first);
  for (;;) {
    await new Promise((resolve) => { setTimeout(resolve, 500); });
    show(bar, await look());
  }
}

begin();
