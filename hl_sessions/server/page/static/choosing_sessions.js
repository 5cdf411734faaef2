import { ask } from "./asking.js";
import { put } from "./copying.js";
import { say } from "./status.js";

const BOX = "input[name=session]";

/** Lets the reader choose rows of the list: one by one, a range with Shift, or all on the page. */
export function chooseSessions() {
  const form = document.getElementById("choosing");
  if (!form) return;
  const rows = document.getElementById("rows");
  const page = document.getElementById("choose-page");
  const all = document.getElementById("all");
  const shown = document.getElementById("chosen");
  let last = null;

  const boxes = () => [...rows.querySelectorAll(BOX)];
  const chosen = () => boxes().filter((box) => box.checked);

  function tell() {
    const count = chosen().length;
    const text = all.checked ? "All chosen" : count ? `${count} chosen` : "None chosen";
    if (shown.textContent !== text) {
      shown.textContent = text;
      say(text);
    }
    page.checked = count > 0 && count === boxes().length;
    page.indeterminate = count > 0 && !page.checked;
    for (const button of form.querySelectorAll("button")) button.disabled = !count && !all.checked;
  }

  rows.addEventListener("click", (event) => {
    const box = event.target;
    if (!box.matches(BOX)) return;
    const inOrder = boxes();
    const [from, to] = [inOrder.findIndex((one) => one.value === last), inOrder.indexOf(box)].sort((a, b) => a - b);
    if (event.shiftKey && from >= 0) for (const one of inOrder.slice(from, to)) one.checked = box.checked;
    last = box.value;
  });
  page.addEventListener("change", () => {
    for (const box of boxes()) box.checked = page.checked;
  });
  document.addEventListener("change", tell);
  rows.addEventListener("refreshed", tell);

  form.addEventListener("submit", async (event) => {
    const button = event.submitter;
    if (!button.matches("[data-copies-ids]")) return;
    event.preventDefault();
    try {
      const ids = chosen().map((box) => box.value);
      await put(all.checked ? await idsOfAll(form, button) : ids.join("\n"));
      say(all.checked ? "The IDs are copied" : `${ids.length} IDs are copied`);
      button.textContent = "Copied";
    } catch {
      say("Not copied");
      button.textContent = "Not copied";
    }
    setTimeout(() => {
      button.textContent = "Copy IDs";
    }, 2000);
  });
  tell();
}

async function idsOfAll(form, button) {
  const response = await ask(button.formAction, { method: "POST", body: new URLSearchParams(new FormData(form)) });
  return (await response.text()).trimEnd();
}
