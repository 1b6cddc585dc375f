// A landing page in full: two rewards, and what a reader sees of them.

window.psicash = window.psicash || function () { (psicash.queue = psicash.queue || []).push(arguments); };

addEventListener("DOMContentLoaded", () => {
  const element = (id) => document.getElementById(id);
  const calls = [];

  function reward(action, then) {
    psicash(action, (error, success, detail) => {
      calls.push(`${action}: ${error}, ${success}, ${JSON.stringify(detail)}`);
      element("log").textContent = calls.join("\n");
      then(error, success, detail);
    });
  }

  function show(state, figure, explanation) {
    element("state").dataset.state = state;
    element("figure").textContent = figure;
    element("explanation").textContent = explanation;
  }

  reward("page-view", (error, success, detail) => {
    if (success) show("on", "Time added", "Your visit was rewarded. The time is in your tank, even while you are connected.");
    else if (detail === "not yet allowed" || detail === "429") show("off", "Already rewarded", "You had the reward for this visit a short time ago. Come back later.");
    else if (detail === "401 access denied") show("off", "Please sign in again", "The app’s token is no longer valid. Open this page from the app again.");
    else if (error === "no tokens available") show("off", "Open this page from the app", "The app tells the page whose tank to fill. Below you can open it as the app does.");
    else show("off", "No reward this time", error || detail);
  });

  element("click").addEventListener("click", () => {
    element("click").disabled = true;
    reward("click-through", (_, success) => {
      element("click").hidden = true;
      element("sponsor").textContent = success ? "Thank you for looking. The time for it is in your tank." : "Thank you for looking. There is no reward for it right now.";
    });
  });

  element("app").addEventListener("submit", (event) => {
    event.preventDefault();
    const tokens = element("token").value.trim();
    const parcel = btoa(JSON.stringify({ timestamp: new Date().toISOString(), tokens }));
    // The same page with another hash is not loaded again by itself.
    location.hash = `psicash=${encodeURIComponent(parcel)}`;
    location.reload();
  });
});
