import { ask } from "./asking.js";
import { say } from "./status.js";

/** Sends a rating without leaving the page. */
export function rateInPlace() {
  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (!form.matches(".rating")) return;
    event.preventDefault();
    const chosen = event.submitter;
    try {
      await ask(form.action, { method: "POST", body: new FormData(form, chosen) });
    } catch {
      say("The rating was not stored");
      chosen.title = "The rating was not stored";
      return;
    }
    const isTakenBack = chosen.name === "unset";
    say(isTakenBack ? "Rating taken back" : `Rated ${chosen.value}`);
    for (const button of form.querySelectorAll("button")) {
      const isPressed = button === chosen && !isTakenBack;
      button.setAttribute("aria-pressed", isPressed);
      // A click on a pressed button takes the rating back.
      button.name = isPressed ? "unset" : "value";
    }
    form.dispatchEvent(new CustomEvent("rated", { bubbles: true }));
  });
}
