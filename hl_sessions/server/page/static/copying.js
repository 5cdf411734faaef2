import { ask } from "./asking.js";
import { say } from "./status.js";

/** Shows the copy buttons, which need scripts. */
export function offerCopying() {
  for (const button of document.querySelectorAll("button.copy")) button.hidden = false;
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button.copy");
    if (!button) return;
    try {
      await put(await textOf(button));
      button.textContent = "Copied";
      say("Copied");
    } catch {
      button.textContent = "Not copied";
      say("Not copied");
    }
    button.classList.add("is-done");
    setTimeout(() => {
      button.textContent = "Copy";
      button.classList.remove("is-done");
    }, 2000);
  });
}

/** Returns the text to copy: for a datapoint the whole value, even if only a part is shown. */
async function textOf(button) {
  if (button.dataset.text !== undefined) return button.dataset.text;
  if (button.dataset.link !== undefined) return new URL(button.dataset.link, location).href;
  let value = await (await ask(button.dataset.from)).json();
  for (const step of JSON.parse(button.dataset.place)) value = value[step];
  return typeof value === "string" ? value : JSON.stringify(value, null, 2);
}

/** Copies a text to the clipboard. */
export async function put(text) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return;
  }
  // Over plain HTTP from another machine, browsers offer only this way to the clipboard.
  const field = document.createElement("textarea");
  field.value = text;
  document.body.append(field);
  field.select();
  const isDone = document.execCommand("copy");
  field.remove();
  if (!isDone) throw new Error("the browser does not copy");
}
