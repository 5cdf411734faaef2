/** Goes on without the form where it is not needed: by a link on another site, browsers come without the cookie. */
export async function resumeSignIn() {
  const form = document.querySelector("form.sign-in");
  if (!form) return;
  // Signing in ends the question, and so does a server that has gone.
  const response = await fetch(location.pathname, { redirect: "manual" }).catch(() => null);
  if (response?.type === "opaqueredirect") location.replace(form.elements.next.value);
}
