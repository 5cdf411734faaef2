/** Makes screen readers announce a text. */
export function say(text) {
  document.getElementById("status").textContent = text;
}
