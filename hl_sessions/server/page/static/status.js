/** Has screen readers say something, without moving anything. */
export function say(text) {
  document.getElementById("status").textContent = text;
}
