const FORMS = ".typed";
const FIELDS = "input:not([type=hidden], [type=checkbox]), textarea";

/** Leads into a form that unfolds, and out of it with Escape, which folds it if nothing in it is unsent. */
export function offerWriting() {
  // This event does not bubble.
  document.addEventListener("toggle", ({ target }) => target.matches(`${FORMS}[open]`) && target.querySelector(FIELDS).focus(), true);
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.isComposing || document.querySelector("dialog[open]")) return;
    if (event.target.closest(`${FORMS}, textarea`)) event.target.blur();
    for (const form of document.querySelectorAll(`${FORMS}[open]`)) form.open = [...form.querySelectorAll(FIELDS)].some(isUnsent);
  });
}

/** Tells whether a form that unfolds is open or has the focus. */
export function isWriting() {
  return document.querySelector(`${FORMS}[open], ${FORMS}:focus-within`) !== null;
}

/** Tells whether the page has a typed text that an element does not send. */
export function losesText(element) {
  const fields = document.querySelectorAll(`form[method=post] :is(${FIELDS})`);
  return [...fields].some((field) => isUnsent(field) && field.form !== element.form);
}

function isUnsent(field) {
  return field.value !== field.defaultValue;
}
