import { ask, repeat } from "./asking.js";
import { say } from "./status.js";
import { refreshTimes } from "./times.js";

const MILLISECONDS = 2000;

/** Keeps the list of sessions up to date without moving rows that the reader is looking at. */
export function followSessions() {
  const rows = document.getElementById("rows");
  if (!rows) return;
  const isFirst = JSON.parse(rows.dataset.isFirst);
  const live = document.getElementById("live");
  const pause = document.getElementById("pause");
  const pill = document.getElementById("newer");
  let latest = [];
  let isPaused = false;

  const inRow = (id, selector) => rows.querySelector(`tr[data-id="${id}"] ${selector}`);
  const isShown = (row) => rows.querySelector(`tr[data-id="${row.dataset.id}"]`) !== null;

  /** Tells whether the rows are those of the latest answer, in its order: sorted rows change places. */
  const isInOrder = () => latest.length === rows.rows.length && latest.every((row, index) => rows.rows[index].dataset.id === row.dataset.id);

  function takeOver() {
    for (const row of latest.filter((row) => !isShown(row))) row.classList.add("is-new");
    const focused = rows.contains(document.activeElement) && document.activeElement;
    const isLatest = new Set(latest.map((row) => row.dataset.id));
    const chosen = [...rows.querySelectorAll("input:checked")].map((box) => box.closest("tr"));
    // A chosen row stays, even if the list would end before it.
    const rest = chosen.filter((row) => !isLatest.has(row.dataset.id));
    rows.replaceChildren(...latest, ...rest);
    for (const { dataset } of chosen) inRow(dataset.id, "input").checked = true;
    if (focused) inRow(focused.closest("tr").dataset.id, focused.localName)?.focus({ preventScroll: true });
    rows.dispatchEvent(new Event("refreshed"));
    pill.hidden = true;
  }

  /** Tells whether new rows may push the others down: not if paused, scrolled, hovered or focused. */
  const isAtRest = () => !isPaused && scrollY < 10 && !rows.matches(":hover") && !rows.contains(document.activeElement);

  function update(table) {
    latest = [...table.querySelectorAll("tr")];
    refreshTimes(table);
    if (!rows.matches("tbody")) {
      // The list was empty, so there is no table for the first rows yet.
      if (latest.length) location.reload();
      return;
    }
    const count = isFirst ? latest.findIndex((row) => isShown(row)) : 0;
    const added = count < 0 ? latest.length : count;
    if (added && isAtRest()) {
      takeOver();
      say(counted(added));
      return;
    }
    if (!added && !isInOrder() && isAtRest()) takeOver();
    for (const row of isPaused ? [] : latest.slice(added)) {
      const shown = rows.querySelector(`tr[data-id="${row.dataset.id}"]`);
      if (shown && differs(shown, row)) refill(shown, row);
    }
    if (!added) return;
    const text = counted(added, added === latest.length);
    if (pill.hidden || pill.textContent !== text) say(text);
    pill.textContent = text;
    pill.hidden = false;
  }

  pill?.addEventListener("click", () => {
    takeOver();
    scrollTo({ top: 0 });
    rows.querySelector("a")?.focus({ preventScroll: true });
  });

  pause?.addEventListener("click", () => {
    isPaused = !isPaused;
    pause.textContent = isPaused ? "Resume" : "Pause";
    if (!isPaused && latest.length) takeOver();
    setLive(live, isPaused ? "paused" : "live");
  });

  repeat(async () => {
    try {
      const response = await ask(rows.dataset.address);
      const table = document.createElement("table");
      table.innerHTML = await response.text();
      update(table);
      setLive(live, isPaused ? "paused" : "live");
    } catch {
      setLive(live, "not live: the server does not answer");
    }
  }, JSON.parse(rows.dataset.pause));
}

function counted(count, isLeast = false) {
  return `${count}${isLeast ? " or more" : ""} new session${count > 1 ? "s" : ""}`;
}

function setLive(live, text) {
  if (!live || live.textContent === text) return;
  live.classList.toggle("is-down", text.startsWith("not"));
  live.classList.toggle("is-paused", text === "paused");
  live.textContent = text;
  say(text);
}

/** Compares the contents of two rows without their ages, which always change. */
function differs(shown, row) {
  return [...row.cells].some((cell, index) => !cell.querySelector("time") && cell.innerHTML !== shown.cells[index].innerHTML);
}

/** Replaces the contents of a row, except its link, which may have the focus. */
function refill(shown, row) {
  [...row.cells].forEach((cell, index) => {
    const link = cell.querySelector("a");
    const target = link ? shown.cells[index].querySelector("a") : shown.cells[index];
    if (!cell.querySelector("time, input")) target.replaceChildren(...(link ?? cell).childNodes);
  });
}

/** Tells the reader of a session when it has changed. */
export function followSession() {
  const version = document.getElementById("version");
  if (!version) return;
  const pill = document.getElementById("changed");
  pill.addEventListener("click", () => location.reload());
  let isOwn = false;
  document.addEventListener("given", () => {
    isOwn = true;
  });
  repeat(async () => {
    const response = await ask(version.dataset.address).catch(() => null);
    if (!response) return;
    const latest = (await response.json()).version;
    if (latest !== version.dataset.version && !isOwn && pill.hidden) {
      pill.hidden = false;
      say(pill.textContent);
    }
    if (isOwn) version.dataset.version = latest;
    isOwn = false;
  }, MILLISECONDS);
}
