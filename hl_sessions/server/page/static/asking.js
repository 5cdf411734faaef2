const ASKED_BY_SCRIPT = { "X-Requested-With": "fetch" };

/** Asks the server. If the reader is no longer signed in, shows the form to sign in. */
export async function ask(address, options = {}) {
  const response = await fetch(address, { ...options, headers: ASKED_BY_SCRIPT });
  if (response.status === 401) location.reload();
  if (!response.ok) throw new Error(`The server answered with status ${response.status}.`);
  return response;
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
