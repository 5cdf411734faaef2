import { ask } from "./asking.js";
import { choosing } from "./choosing.js";
import { isForPage } from "./keys.js";
import { say } from "./status.js";

/** Opens a dialog with Ctrl-K or Cmd-K, in which a name or an ID leads to its page. */
export function offerJumping() {
  const dialog = document.getElementById("jump");
  if (!dialog) return;
  const field = document.getElementById("place");
  const list = document.getElementById("places");
  const { choose, chosen } = choosing(field, list);
  let latest;

  async function lookUp() {
    const text = field.value;
    const response = await ask(`${dialog.dataset.address}?q=${encodeURIComponent(text)}`).catch(() => null);
    const options = await response?.text();
    if (text !== field.value) return;
    list.innerHTML = options?.trim() ?? "";
    choose(list.firstElementChild);
    if (!list.children.length) say("Nothing found");
  }

  field.addEventListener("input", () => {
    latest = lookUp();
  });
  field.addEventListener("keydown", async (event) => {
    if (event.isComposing || !["ArrowDown", "ArrowUp", "Enter"].includes(event.key)) return;
    event.preventDefault();
    // The last request may still be under way.
    await latest;
    if (event.key === "Enter") chosen()?.click();
    else if (event.key === "ArrowDown") choose(chosen()?.nextElementSibling ?? list.firstElementChild);
    else choose(chosen()?.previousElementSibling ?? list.lastElementChild);
  });
  list.addEventListener("click", () => dialog.close());
  field.addEventListener("focus", () => {
    field.select();
    latest = lookUp();
  });
  document.addEventListener("keydown", (event) => {
    const isCalled = event.key.toLowerCase() === "k" && event.ctrlKey !== event.metaKey;
    if (!isCalled || event.altKey || event.shiftKey || !isForPage(event)) return;
    event.preventDefault();
    dialog.showModal();
  });
}
