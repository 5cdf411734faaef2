const FORMS = ".typed";
const FIELDS = "input:not([type=hidden], [type=checkbox], [type=password]), textarea";

/** Leads into a form that unfolds, and out of it with Escape, which folds it if nothing in it is unsent. */
export function offerWriting() {
  // This event does not bubble.
  document.addEventListener("toggle", ({ target }) => target.matches(`${FORMS}[open]`) && target.querySelector(FIELDS).focus(), true);
  document.addEventListener("keydown", (event) => {
    if (event.isComposing || document.querySelector("dialog[open]")) return;
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) event.target.closest("textarea")?.form.requestSubmit();
    if (event.key !== "Escape") return;
    if (event.target.closest(`${FORMS}, textarea`)) event.target.blur();
    for (const form of document.querySelectorAll(`${FORMS}[open]`)) form.open = typedFieldsIn(form).some(isUnsent);
  });
  keepTyped();
}

/** Makes the browser ask before the reader leaves a typed text, unless its form has led away. */
function keepTyped() {
  let leading = null;
  addEventListener("submit", (event) => {
    if (!event.defaultPrevented) leading = event.target;
  });
  addEventListener("beforeunload", (event) => {
    if (losesText(leading)) event.preventDefault();
  });
}

/** Tells whether a form that unfolds is open or has the focus. */
export function isWriting() {
  return document.querySelector(`${FORMS}[open], ${FORMS}:focus-within`) !== null;
}

/** Tells whether the page has a typed text that a form does not send. */
export function losesText(form) {
  return typedFieldsIn(document).some((field) => isUnsent(field) && field.form !== form);
}

/** Returns the fields for texts and numbers that are stored, in a part of the page. */
export function typedFieldsIn(part) {
  return [...part.querySelectorAll(FIELDS)].filter((field) => field.form?.method === "post");
}

/** Tells whether the text of a field is not stored yet. */
export function isUnsent(field) {
  return field.value !== field.defaultValue;
}
