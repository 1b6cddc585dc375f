/** Texts of the person's language, and put into a page. */

export function text(key: string, ...parts: string[]): string {
  return chrome.i18n.getMessage(key, parts);
}

/** Fills all elements that say which text they have. */
export function fillTexts(): void {
  document.documentElement.lang = chrome.i18n.getUILanguage();
  document.title = text("name");
  for (const element of document.querySelectorAll<HTMLElement>("[data-text]")) element.textContent = text(element.dataset["text"]!);
  for (const element of document.querySelectorAll<HTMLElement>("[data-label]")) {
    element.setAttribute("aria-label", text(element.dataset["label"]!));
    element.title = text(element.dataset["label"]!);
  }
}

/** Hours, minutes and seconds as far as they matter: "12 d", "3:07 h", "7:02". */
export function timeLeft(ms: number): string {
  if (ms === Infinity) return "∞";
  const seconds = Math.floor(ms / 1_000);
  const two = (number: number): string => String(number).padStart(2, "0");
  const [days, hours, minutes] = [Math.floor(seconds / 86_400), Math.floor(seconds / 3_600), Math.floor(seconds / 60)];
  if (days >= 3) return text("days", String(days));
  if (hours >= 1) return text("hours", `${hours}:${two(minutes % 60)}`);
  return `${minutes}:${two(seconds % 60)}`;
}

export function byId<T extends HTMLElement = HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}
