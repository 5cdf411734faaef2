/** Applies a filter as soon as it is chosen, and keeps empty ones out of the address. */
export function applyFilters() {
  const form = document.getElementById("filters");
  if (!form) return;
  form.addEventListener("change", (event) => {
    // A date is typed digit by digit, so it is applied only when the field is left.
    if (!["search", "date"].includes(event.target.type)) form.requestSubmit();
  });
  form.addEventListener("formdata", (event) => {
    for (const [name, value] of [...event.formData]) {
      if (value === "") event.formData.delete(name);
    }
  });
}
