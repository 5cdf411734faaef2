import { isWriting, losesText } from "./writing.js";

/** Tells whether a key is for the page, and not for a text field, a form that is open, or a dialog. */
export function isForPage(event) {
  if (event.defaultPrevented || event.isComposing || document.querySelector("dialog[open]") || isWriting()) return false;
  return !event.target.closest("input:not([type=checkbox]), select, textarea, .columns");
}

/** Handles the keys in `aria-keyshortcuts` of links, buttons and fields, and those that move through the list. */
export function obeyKeys() {
  document.addEventListener("keydown", (event) => {
    if (!isForPage(event) || event.ctrlKey || event.metaKey || event.altKey) return;
    // With Shift, arrow keys select text. They scroll an element that is wider than its place.
    if (event.key.startsWith("Arrow") && (event.shiftKey || event.target.closest("main [tabindex='0']"))) return;
    const element = elementOf(event.key) ?? rowFor(event.key);
    if (!element || losesText(element.form)) return;
    event.preventDefault();
    if (element.matches("input, textarea, tr a")) element.focus();
    // A key that is held down goes on to press what stands in its place on the next page.
    else if (!event.repeat) element.click();
  });
}

function elementOf(key) {
  return document.querySelector(`[aria-keyshortcuts~="${CSS.escape(key)}"]:not([hidden])`);
}

/** Finds the link of the next row, or of the first row if none has the focus. */
function rowFor(key) {
  const step = { j: 1, k: -1 }[key];
  if (!step) return null;
  const links = [...document.querySelectorAll("#rows tr a")];
  const chosen = links.indexOf(document.activeElement.closest("tr")?.querySelector("a"));
  return chosen < 0 ? links[0] : links[chosen + step];
}
