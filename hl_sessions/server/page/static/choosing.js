/** Lets a field choose one of the options of a list, as screen readers are told; nothing is chosen by `null`. */
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
