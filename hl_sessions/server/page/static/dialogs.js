/** Opens the dialogs of the page by their buttons, and closes them by a click beside them. */
export function openDialogs() {
  document.addEventListener("click", ({ target }) => {
    const button = target.closest("[data-opens]");
    if (button) document.getElementById(button.dataset.opens).showModal();
    if (target.matches("dialog")) target.close();
  });
}
