import { say } from "./status.js";

const AREAS = ".value-text, .json, .value > pre, .error pre, .name, .role, .given, .inputs dt, .identity dd";
const MOST = 1000;

/** Marks all places of a text in the session, and moves between them, also in folded parts. */
export function findInSession() {
  const field = document.getElementById("find");
  if (!field) return;
  const told = document.getElementById("found");
  // A conversation has the answers; only the time line has the steps nested under them.
  const limit = document.querySelector(".turn-foot .nested") ? " (nested not searched)" : "";
  let areas;
  let found = [];
  let current = -1;

  const count = () => (found.length === MOST ? `${MOST} or more` : found.length);

  function tell(text) {
    told.textContent = text;
    say(text);
  }

  field.addEventListener("input", () => {
    areas ??= [...document.querySelectorAll(AREAS)].map(read);
    found = placesOf(areas, field.value);
    current = -1;
    mark("found", found);
    mark("current", []);
    tell(field.value && `${count()} found${limit}`);
  });
  field.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.isComposing || !found.length) return;
    const step = event.shiftKey ? -1 : 1;
    current = current < 0 && step < 0 ? found.length - 1 : (current + step + found.length) % found.length;
    mark("current", [found[current]]);
    reveal(found[current]);
    tell(`${current + 1} of ${count()}`);
  });
}

/** Returns the text of an element, and the offset of each of its text nodes. */
function read(element) {
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  const nodes = [];
  let text = "";
  while (walker.nextNode()) {
    if (walker.currentNode.parentElement.closest(".size, button")) continue;
    nodes.push({ node: walker.currentNode, begin: text.length });
    text += walker.currentNode.data;
  }
  return { nodes, text };
}

function placesOf(areas, wanted) {
  const places = [];
  if (!wanted) return places;
  const pattern = new RegExp(wanted.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&"), "giu");
  for (const { nodes, text } of areas) {
    for (const match of text.matchAll(pattern)) {
      const range = new Range();
      range.setStart(...pointAt(nodes, match.index));
      range.setEnd(...pointAt(nodes, match.index + match[0].length - 1, 1));
      if (places.push(range) === MOST) return places;
    }
  }
  return places;
}

function pointAt(nodes, index, more = 0) {
  const { node, begin } = nodes.findLast((one) => one.begin <= index);
  return [node, index - begin + more];
}

function mark(name, ranges) {
  // Browsers without highlights still move between the places.
  if (globalThis.Highlight) CSS.highlights.set(name, new Highlight(...ranges));
}

function reveal(range) {
  const element = range.startContainer.parentElement;
  for (let details = element.closest("details"); details; details = details.parentElement.closest("details")) {
    // The summary is visible while the details are folded.
    if (!details.firstElementChild.contains(element)) details.open = true;
  }
  element.scrollIntoView({ block: "center" });
  // In a long text, the place may still be off the screen.
  const { top, bottom } = range.getBoundingClientRect();
  if (top < 0 || bottom > innerHeight) scrollBy({ top: top - innerHeight / 2 });
}
