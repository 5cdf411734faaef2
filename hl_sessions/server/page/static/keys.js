/** Tells whether a key is for the page, and not for a text field or an open dialog. */
export function isForPage(event) {
  if (event.defaultPrevented || event.isComposing || document.querySelector("dialog[open]")) return false;
  return !event.target.closest("input:not([type=checkbox]), select, textarea");
}

/** Handles the keys in `aria-keyshortcuts` of links, buttons and fields, and those that move through the list. */
export function obeyKeys() {
  document.addEventListener("keydown", (event) => {
    if (!isForPage(event) || event.ctrlKey || event.metaKey || event.altKey) return;
    // Arrow keys scroll an element that is wider than its place.
    if (event.key.startsWith("Arrow") && event.target.closest("main [tabindex='0']")) return;
    const element = elementOf(event.key) ?? rowFor(event.key);
    if (!element) return;
    event.preventDefault();
    if (element.matches("input, textarea, tr a")) element.focus();
    // A key that is held down goes on to press what stands in its place on the next page.
    else if (!event.repeat) element.click();
  });
}

/** Makes Escape leave a text field, so that keys are for the page again. */
export function leaveTexts() {
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && event.target.matches("textarea")) event.target.blur();
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
