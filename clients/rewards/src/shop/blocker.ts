/** Covers a page until its person may buy. Themes may bring the element, under these names, so that it is there from the first paint. */

const NAME = "psicash-page-blocker";
const COVER = { position: "fixed", inset: "0", zIndex: "2147483647", display: "flex", alignItems: "center", justifyContent: "center" };
const LOOK = { background: "rgba(0, 0, 0, 0.8)", padding: "1.5rem", boxSizing: "border-box" };
const CARD = { background: "#fff", color: "#1c1917", padding: "1.5rem 2rem", borderRadius: "0.75rem", maxWidth: "32rem", font: "600 1.125rem/1.5 system-ui, sans-serif", textAlign: "center" };

export class Blocker {
  private unreachable: HTMLElement[] = [];

  static over(page: Document, checking: string): Blocker {
    const brought = page.getElementById(NAME);
    if (brought) return new Blocker(page, brought, brought.querySelector("div") ?? brought);
    const [cover, words] = [page.createElement("div"), page.createElement("div")];
    cover.id = cover.className = NAME;
    // Not as a style sheet: a shop's policy may refuse those.
    Object.assign(cover.style, COVER, LOOK);
    Object.assign(words.style, CARD);
    words.textContent = checking;
    cover.append(words);
    // Beside the body, which may not be there yet.
    page.documentElement.append(cover);
    return new Blocker(page, cover, words);
  }

  private constructor(
    page: Document,
    private readonly cover: HTMLElement,
    private readonly words: HTMLElement,
  ) {
    words.setAttribute("role", "status");
    this.closeOff();
    // For what has not been parsed yet.
    if (page.readyState === "loading") page.addEventListener("DOMContentLoaded", () => this.closeOff());
  }

  refuse(why: string): void {
    this.cover.classList.add(`${NAME}-error`);
    this.cover.style.opacity = "1";
    this.words.setAttribute("role", "alert");
    this.words.textContent = why;
  }

  lift(): void {
    this.cover.remove();
    for (const element of this.unreachable) element.inert = false;
    this.unreachable = [];
  }

  /** Keys and screen readers reach what is covered, unless they are kept out. */
  private closeOff(): void {
    for (const element of Array.from(this.cover.parentElement?.children ?? [])) {
      if (element === this.cover || !(element instanceof HTMLElement) || element.inert) continue;
      element.inert = true;
      this.unreachable.push(element);
    }
  }
}
