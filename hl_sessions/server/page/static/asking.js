import { losesText } from "./writing.js";

const ASKED_BY_SCRIPT = { "X-Requested-With": "fetch" };

/** Asks the server. If the reader is no longer signed in, shows the form to sign in, unless that loses a text. */
export async function ask(address, options = {}) {
  const response = await fetch(address, { ...options, headers: ASKED_BY_SCRIPT }).catch(() => {
    throw new Error("The server does not answer.");
  });
  if (response.status === 401 && !losesText(null)) location.reload();
  if (!response.ok) throw new Error(await problemIn(response));
  return response;
}

/** Returns the reason of a failure: the server's own, or that of a proxy, which has a page for it. */
async function problemIn(response) {
  const isText = response.headers.get("Content-Type")?.startsWith("text/plain");
  return isText ? response.text() : `The server answered with status ${response.status}.`;
}

/** Repeats an action, with a pause after each time, while the page is visible. */
export function repeat(action, milliseconds) {
  let timer;
  let isRunning = false;
  async function run() {
    clearTimeout(timer);
    if (isRunning || document.hidden) return;
    isRunning = true;
    try {
      await action();
    } finally {
      isRunning = false;
      timer = setTimeout(run, milliseconds);
    }
  }
  document.addEventListener("visibilitychange", run);
  timer = setTimeout(run, milliseconds);
}
