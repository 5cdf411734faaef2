/** Opens the datapoint that the address names, in the time line. */
export function followDatapoint() {
  const open = () => {
    const branch = document.getElementById(location.hash.slice(1))?.querySelector(":scope > details");
    if (branch) branch.open = true;
  };
  addEventListener("hashchange", open);
  open();
}
