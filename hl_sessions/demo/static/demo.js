"use strict";

const STEPS = ["moderation", "retrieval", "answer"];
const POLL_MILLISECONDS = 1000;
const POLL_MILLISECONDS_WHILE_STREAMING = 250;

const $ = (id) => document.getElementById(id);

/** The session of the last reply, and whether that reply is still coming. */
const current = { id: null, isStreaming: false };

// Elements

/** Makes an element. All text gets into the page here, and only as text. */
function element(name, className, text = "") {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

/** Easy to tell apart, each from the next, and none of them the red of problems. */
const HUES = [264, 185, 305, 75, 225, 145, 335];
const hues = new Map();

/** Gives a session its colour, the same one under the reply and in the list. */
function color(target, sessionId) {
  if (!hues.has(sessionId)) hues.set(sessionId, HUES[hues.size % HUES.length]);
  target.style.setProperty("--hue", hues.get(sessionId));
}

// The chat

function addMessage(kind, text = "") {
  $("messages").querySelector(".empty")?.remove();
  const message = element("p", `message ${kind}`, text);
  $("messages").append(message);
  scrollToEnd();
  return message;
}

function addSessionChip(sessionId) {
  const chip = element("button", "session-chip", "logged under");
  chip.type = "button";
  chip.title = "Show this session in the list";
  chip.append(element("code", "", sessionId));
  color(chip, sessionId);
  chip.addEventListener("click", () => {
    current.id = sessionId;
    markCurrent();
    cards.get(sessionId)?.item.scrollIntoView({ block: "nearest" });
  });
  $("messages").append(chip);
  scrollToEnd();
}

function scrollToEnd() {
  $("messages").scrollTop = $("messages").scrollHeight;
}

async function ask(question) {
  if (current.isStreaming) return;
  setBusy(true);
  addMessage("you", question);
  const reply = addMessage("bot is-streaming");
  try {
    await streamReply(question, reply);
  } catch (error) {
    const reason = error instanceof RefusedError ? error.message : "The chat application does not answer.";
    if (reply.textContent) {
      addMessage("problem", `The reply broke off. ${reason}`);
    } else {
      reply.className = "message problem";
      reply.textContent = reason;
    }
  } finally {
    reply.classList.remove("is-streaming");
    setBusy(false);
    scrollToEnd();
    refresh();
  }
}

class RefusedError extends Error {}

/** Sends the one request that a message is, and shows the words of the reply as they arrive. */
async function streamReply(question, reply) {
  const response = await fetch("/chat", { method: "POST", body: JSON.stringify({ message: question }) });
  if (!response.ok) throw new RefusedError(await problemOf(response));
  current.id = response.headers.get("X-Session-ID");
  refresh();
  const decoder = new TextDecoder();
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    reply.textContent += decoder.decode(value, { stream: true });
    scrollToEnd();
  }
  if (current.id) addSessionChip(current.id);
  else addMessage("problem", "No session: the sessions API did not make one. The chat goes on without.");
}

async function problemOf(response) {
  const body = await response.json().catch(() => ({}));
  return body.error ?? body.detail ?? `The chat application answered with status ${response.status}.`;
}

/** While a reply is coming, nothing else is sent, and screen readers wait for the whole of it. */
function setBusy(isBusy) {
  current.isStreaming = isBusy;
  $("messages").setAttribute("aria-busy", isBusy);
  for (const button of document.querySelectorAll("#send, .examples button")) {
    // Not "disabled", which would take the focus away.
    button.setAttribute("aria-disabled", isBusy);
  }
}

$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const question = $("message").value.trim();
  if (!question || current.isStreaming) return;
  $("message").value = "";
  ask(question);
});

for (const button of document.querySelectorAll(".examples button")) {
  button.addEventListener("click", () => ask(button.textContent));
}

// The list of sessions

/** What is in the page: by session ID, the item of the list and the datapoints shown in it. */
const cards = new Map();

function show({ page, sessions }) {
  $("page").href = page;
  $("page").hidden = false;
  $("no-sessions").hidden = sessions.length > 0;
  const listed = new Set(sessions.map((session) => session.id));
  for (const [id, card] of cards) {
    if (!listed.has(id)) {
      card.item.remove();
      cards.delete(id);
    }
  }
  // The oldest one first: each that is new goes on top.
  for (const session of [...sessions].reverse()) {
    if (!cards.has(session.id)) addCard(session, page);
    showDatapoints(session);
  }
  markCurrent();
}

function addCard(session, page) {
  const item = element("li", "session");
  const head = element("div", "session-head");
  const time = element("time", "", new Date(session.created_at).toLocaleTimeString());
  time.dateTime = session.created_at;
  const datapoints = element("ol", "datapoints");
  head.append(pageLink(session.id, page), time);
  item.append(head, datapoints);
  color(item, session.id);
  $("sessions").prepend(item);
  cards.set(session.id, { item, datapoints, shown: new Set() });
}

/** Leads to all that was logged under a session, on the page of the server. */
function pageLink(sessionId, page) {
  const link = element("a", "session-id", sessionId);
  link.href = `${page}sessions/${sessionId}`;
  link.target = "_blank";
  link.rel = "noopener";
  link.title = "Open this session on the page of the server";
  return link;
}

function showDatapoints(session) {
  const card = cards.get(session.id);
  for (const pending of card.datapoints.querySelectorAll(".is-pending")) pending.remove();
  for (const datapoint of session.datapoints) {
    if (card.shown.has(datapoint.id)) continue;
    card.shown.add(datapoint.id);
    card.datapoints.append(row("is-new", datapoint.step, datapoint.ran_in, datapoint.output));
    if (session.id === current.id && card.shown.size === STEPS.length) {
      $("status").textContent = `${STEPS.length} datapoints in session ${session.id}`;
    }
  }
  if (session.id === current.id && current.isStreaming) {
    const logged = new Set(session.datapoints.map((datapoint) => datapoint.step));
    for (const step of STEPS.filter((name) => !logged.has(name))) {
      card.datapoints.append(row("is-pending", step, "", "when the reply has ended"));
    }
  }
}

function row(className, step, ranIn, output) {
  const item = element("li", `datapoint ${className}`);
  const result = element("span", "output", output);
  result.title = output;
  item.append(element("span", "step", step), element("span", "ran-in", ranIn), result);
  return item;
}

function markCurrent() {
  for (const [id, { item }] of cards) item.classList.toggle("is-current", id === current.id);
}

function showProblem(text) {
  $("problem").hidden = text === null;
  if (text !== null && $("problem").textContent !== text) $("problem").textContent = text;
  $("live").classList.toggle("is-down", text !== null);
  $("live").textContent = text === null ? "live" : "not live";
}

let timer;
let isRefreshing = false;

/** Reads the list, now and then again and again, as long as somebody can see it. */
async function refresh() {
  clearTimeout(timer);
  if (isRefreshing) {
    timer = setTimeout(refresh, 50);
    return;
  }
  isRefreshing = true;
  try {
    const response = await fetch("/sessions");
    if (response.ok) {
      show(await response.json());
      showProblem(null);
    } else {
      showProblem(await problemOf(response));
    }
  } catch {
    showProblem("The demo has ended. Start it again with: hl-sessions demo");
  } finally {
    isRefreshing = false;
    clearTimeout(timer);
    const pause = current.isStreaming ? POLL_MILLISECONDS_WHILE_STREAMING : POLL_MILLISECONDS;
    if (!document.hidden) timer = setTimeout(refresh, pause);
  }
}

document.addEventListener("visibilitychange", refresh);
refresh();
