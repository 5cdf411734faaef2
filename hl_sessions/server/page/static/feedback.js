import { ask } from "./asking.js";
import { say } from "./status.js";
import { isUnsent, typedFieldsIn } from "./writing.js";

const LONGEST_WAIT = 30_000;

/** Sends feedback and verdicts, and stays on the page until they are stored. */
export function sendFeedback() {
  let isSending = false;
  document.addEventListener("submit", async (event) => {
    const part = event.target.closest(".feedback, .verdict");
    if (!part) return;
    event.preventDefault();
    // A second click would send other values before the page shows the first ones.
    if (isSending) return;
    isSending = true;
    const problem = part.querySelector(".problem");
    problem.hidden = true;
    try {
      if (part === event.target) await judge(part, event.submitter);
      else await give(part, event.target, event.submitter);
    } catch (error) {
      problem.textContent = `Not stored. ${error.message}`;
      problem.hidden = false;
    } finally {
      isSending = false;
    }
  });
}

/** Stores a verdict with all that is typed on the page, and goes on to the next session. */
async function judge(form, chosen) {
  await sendTyped(document, form);
  const response = await send(form, chosen);
  if (chosen) {
    location.assign(response.headers.get("Location"));
    return;
  }
  // A key has sent the note alone. The next one may be for the rating.
  say("Note stored");
  document.activeElement.blur();
}

/** Stores feedback with all that is typed on the same subject, and shows it as it is stored. */
async function give(part, form, chosen) {
  await sendTyped(part, form);
  const shown = await (await send(form, chosen)).text();
  const isRating = form.matches(".rating");
  say(!isRating ? "Stored" : chosen.name === "unset" ? "Rating taken back" : `Rated ${chosen.value}`);
  // What the reader has typed meanwhile stays.
  if (typedFieldsIn(part).some(isUnsent)) return;
  const place = [...part.querySelectorAll("button")].indexOf(chosen);
  const parent = part.parentElement;
  part.outerHTML = shown;
  const stored = parent.querySelector(".feedback");
  (isRating ? stored.querySelectorAll("button")[place] : stored.querySelector("summary"))?.focus({ preventScroll: true });
  stored.dispatchEvent(new CustomEvent("given", { bubbles: true }));
}

/** Sends the other forms with a typed text. */
async function sendTyped(part, form) {
  const forms = new Set(typedFieldsIn(part).filter(isUnsent).map((field) => field.form));
  forms.delete(form);
  for (const other of forms) await send(other);
}

async function send(form, chosen) {
  const body = new FormData(form, chosen);
  const response = await ask(form.action, { method: "POST", body, signal: AbortSignal.timeout(LONGEST_WAIT) });
  for (const field of typedFieldsIn(form)) field.defaultValue = body.get(field.name);
  return response;
}
