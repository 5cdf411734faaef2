/** Skips the form if the reader is signed in: a link on another site opens this page without the cookie. */
export async function resumeSignIn() {
  const form = document.querySelector("form.sign-in");
  if (!form) return;
  // Signing in ends the request; so does an unreachable server.
  const response = await fetch(location.pathname, { redirect: "manual" }).catch(() => null);
  if (response?.type === "opaqueredirect") location.replace(form.elements.next.value);
}
