/** An id of the client's own: 22 characters, of 128 random bits, so that no two tabs or people ever make the same one. */
export function newClientId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const text = btoa(String.fromCharCode(...bytes));
  return text.replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}
