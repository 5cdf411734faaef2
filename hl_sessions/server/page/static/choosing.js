/** Marks an option of a list as the active one of its field, also for screen readers; `null` marks none. */
export function choosing(field, list) {
  return {
    choose(option) {
      for (const other of list.children) other.setAttribute("aria-selected", other === option);
      option?.scrollIntoView({ block: "nearest" });
      if (option) field.setAttribute("aria-activedescendant", option.id);
      else field.removeAttribute("aria-activedescendant");
    },
    chosen: () => list.querySelector('[aria-selected="true"]'),
  };
}
