const ASKED_BY_SCRIPT = { "X-Requested-With": "fetch" };

/** Asks the server; who is not signed in any more gets to the form. */
export async function ask(address, options = {}) {
  const response = await fetch(address, { ...options, headers: ASKED_BY_SCRIPT });
  if (response.status === 401) location.reload();
  if (!response.ok) throw new Error(`The server answered with status ${response.status}.`);
  return response;
}

/** Does something again and again, with a pause after each time, as long as somebody can see the page. */
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
