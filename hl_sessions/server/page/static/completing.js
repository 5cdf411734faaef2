import { ask } from "./asking.js";
import { choosing } from "./choosing.js";
import { say } from "./status.js";

/** Offers completions in the field for filters, as a combobox in which no option is active at first. */
export function completeFilters() {
  const field = document.getElementById("q");
  const list = document.getElementById("completions");
  if (!field || !list) return;
  const { choose, chosen } = choosing(field, list);
  let start = 0;
  let asked = 0;
  field.setAttribute("role", "combobox");
  field.setAttribute("aria-autocomplete", "list");
  field.setAttribute("aria-controls", list.id);
  close();

  /** Closes the list, and ignores answers to earlier requests. */
  function close() {
    asked += 1;
    list.hidden = true;
    field.setAttribute("aria-expanded", "false");
    choose(null);
  }

  async function lookUp() {
    asked += 1;
    const number = asked;
    const begin = field.value.slice(0, field.selectionStart);
    const response = await ask(`${list.dataset.address}?q=${encodeURIComponent(begin)}`).catch(() => null);
    const found = await response?.json();
    if (number !== asked) return;
    start = begin.length - (found?.typed.length ?? 0);
    list.replaceChildren(...(found?.options ?? []).map(shown));
    if (!list.children.length) {
      close();
      return;
    }
    list.hidden = false;
    field.setAttribute("aria-expanded", "true");
    choose(null);
    say(`${list.children.length} suggestions`);
  }

  function take(option) {
    // The reader may have typed more, or have left the field.
    field.setRangeText(option.dataset.text, start, Math.max(start, field.selectionStart), "end");
    goOn();
  }

  /** Offers completions for the typed text; where a new term begins, only if the reader asks with a key. */
  function goOn() {
    if (/(^|\s)$/.test(field.value.slice(0, field.selectionStart))) close();
    else lookUp();
  }

  field.addEventListener("input", (event) => {
    if (!event.isComposing) goOn();
  });
  field.addEventListener("keydown", async (event) => {
    if (event.isComposing || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "Escape") {
      // If the list is closed, Escape empties the field, as browsers do.
      if (!list.hidden) event.preventDefault();
      close();
    } else if (event.key === "Enter" && chosen()) {
      event.preventDefault();
      take(chosen());
    } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      const isDown = event.key === "ArrowDown";
      if (list.hidden) await lookUp();
      const next = isDown ? chosen()?.nextElementSibling : chosen()?.previousElementSibling;
      choose(next ?? (isDown ? list.firstElementChild : list.lastElementChild));
    }
  });
  // The field keeps the focus.
  list.addEventListener("mousedown", (event) => event.preventDefault());
  list.addEventListener("click", (event) => {
    const option = event.target.closest('[role="option"]');
    if (option) take(option);
  });
  field.addEventListener("blur", close);
}

function shown({ text, about }, index) {
  const option = document.createElement("span");
  option.id = `completion-${index}`;
  option.role = "option";
  option.dataset.text = text;
  const name = document.createElement("code");
  name.textContent = text.trim();
  const explanation = document.createElement("span");
  explanation.className = "muted";
  explanation.textContent = about;
  option.append(name, " ", explanation);
  return option;
}
