/** The options page: reads and writes settings. The background notices by itself. */

import { readExceptions, serviceOf } from "../background/core.ts";
import { loadSettings } from "../background/store.ts";
import { byId, fillTexts, text } from "../shared/text.ts";

const service = byId<HTMLInputElement>("service");
const exceptions = byId<HTMLTextAreaElement>("exceptions");

fillTexts();
void fill();
byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  void save();
});

async function fill(): Promise<void> {
  const settings = await loadSettings();
  const stored = await chrome.storage.local.get("exceptions");
  service.value = settings.service ?? "";
  service.readOnly = settings.managed.has("service");
  byId("service-managed").hidden = !service.readOnly;
  for (const choice of document.querySelectorAll<HTMLInputElement>("[name=on_loss]")) {
    choice.checked = choice.value === settings.onLoss;
    choice.disabled = settings.managed.has("on_loss");
  }
  byId("on-loss-managed").hidden = !settings.managed.has("on_loss");
  exceptions.value = (Array.isArray(stored["exceptions"]) ? stored["exceptions"] : []).join("\n");
}

async function save(): Promise<void> {
  const { good, bad } = readExceptions(exceptions.value.split("\n"));
  const place = serviceOf(service.value.trim());
  const problem = bad.length ? text("bad_exceptions", bad.join(", ")) : service.value && !place ? text("bad_service") : "";
  byId("exceptions-problem").textContent = problem;
  byId("exceptions-problem").hidden = problem === "";
  byId("saved").textContent = "";
  if (problem) return (bad.length ? exceptions : service).focus();
  const chosen = document.querySelector<HTMLInputElement>("[name=on_loss]:checked")?.value ?? "direct";
  await chrome.storage.local.set({ on_loss: chosen, exceptions: good, ...(place && { service: place }) });
  byId("saved").textContent = text("saved");
  await fill();
}
