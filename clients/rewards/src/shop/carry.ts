/**
 * Takes the package along through the shop: into links to its other pages, for browsers that keep nothing, and into the forms
 * that fill the cart, so that an order says whose tank it is for. What a theme adds or changes later gets it too.
 */

import { withPackage } from "../core/address.ts";

const LINKS = "a[href], area[href]";
// Ends of a form's action, before which a shop may have a locale, and the field that each is given.
const FIELDS: [RegExp, string][] = [
  [/\/cart\/add\/?$/, "properties[_psicash]"],
  [/\/cart\/?$/, "attributes[_psicash]"],
];

// A theme that puts back what we change wins in the end.
const MOST_CHANGES = 20;

export function carryThroughPages(page: Document, here: URL, encoded: string): void {
  const changes = new WeakMap<Element, number>();
  const visit = (element: Element): void => {
    if (element.matches(LINKS)) carryInLink(element, here, encoded, changes);
    const form = element.closest("form");
    if (form) carryInForm(form, here, encoded, changes);
  };
  const visitAll = (root: Element): void => {
    visit(root);
    for (const inner of Array.from(root.querySelectorAll(`${LINKS}, form`))) visit(inner);
  };
  visitAll(page.documentElement);
  new MutationObserver((records) => {
    for (const { target, addedNodes } of records) {
      // An attribute has changed, or a form may have lost its field.
      if (target instanceof Element) visit(target);
      for (const node of Array.from(addedNodes)) if (node instanceof Element) visitAll(node);
    }
  }).observe(page, { subtree: true, childList: true, attributes: true, attributeFilter: ["href", "action"] });
}

function carryInLink(link: Element, here: URL, encoded: string, changes: WeakMap<Element, number>): void {
  const target = resolve(link.getAttribute("href"), link);
  if (!target || target.origin !== here.origin) return;
  // A place on this page. Without a fragment it is this page, loaded again.
  if (target.href.includes("#") && target.pathname === location.pathname && target.search === location.search) return;
  const carrying = withPackage(target, encoded).href;
  if (target.href !== carrying && mayChange(link, changes)) link.setAttribute("href", carrying);
}

function carryInForm(form: HTMLFormElement, here: URL, encoded: string, changes: WeakMap<Element, number>): void {
  // Not `form.action`: that may be a field of this name.
  const target = resolve(form.getAttribute("action"), form);
  const name = target?.origin === here.origin && FIELDS.find(([end]) => end.test(target.pathname))?.[1];
  if (!name) return;
  const there = Array.from(form.querySelectorAll("input")).find((input) => input.name === name);
  if (there?.value === encoded || !mayChange(form, changes)) return;
  const field = there ?? form.ownerDocument.createElement("input");
  Object.assign(field, { type: "hidden", name, value: encoded });
  if (!there) form.append(field);
}

function mayChange(element: Element, changes: WeakMap<Element, number>): boolean {
  const count = (changes.get(element) ?? 0) + 1;
  changes.set(element, count);
  return count <= MOST_CHANGES;
}

function resolve(address: string | null, element: Element): URL | undefined {
  try {
    return address === null ? undefined : new URL(address, element.baseURI);
  } catch {
    return undefined;
  }
}
