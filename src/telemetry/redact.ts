const passwordInUrl = /(:\/\/[^\s:@/"]*):[^\s@/"]+@/g;
const jwt = /\beyJ[\w-]+\.[\w-]+\.[\w-]*/g;
const bearer = /\b(bearer|basic) +[\w.~+/=-]+/gi;
// Fields of JSON, at any depth, with a text value: "adminToken", "signing_key". A plain "key" is one of Redis.
const secretField = /"(\w*(?:token|secret|password|authorization|(?:signing|private|api)_?key))":"(?:[^"\\]|\\.)+"/gi;

/** The same text without passwords in addresses, tokens, and the values of JSON fields that name a secret. */
export function redact(text: string): string {
  return text
    .replace(secretField, '"$1":"[redacted]"')
    .replace(passwordInUrl, "$1:[redacted]@")
    .replace(bearer, "$1 [redacted]")
    .replace(jwt, "[redacted]");
}
