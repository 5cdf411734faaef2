/** Opens the datapoint that the address names, in the time line. */
export function followDatapoint() {
  const open = () => {
    const branch = document.getElementById(location.hash.slice(1));
    if (branch?.matches(".branches > *")) branch.querySelector("details").open = true;
  };
  addEventListener("hashchange", open);
  open();
}
