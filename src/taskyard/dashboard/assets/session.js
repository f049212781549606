// Who is signed in. The credential lives in sessionStorage (this tab only), never in an address
// of a page.

/**
 * @typedef {{kind: "token", token: string} | {kind: "basic", user: string, password: string}} Credential
 * @typedef {{actor: string, workspace: string, role: string}} Me
 */

const KEY = "taskyard.credential";
const RANKS = ["read", "write", "operate", "admin"];

/** @type {Me | null} */
let me = null;

/** @returns {Credential | null} */
export function credential() {
  const text = sessionStorage.getItem(KEY);
  if (!text) return null;
  try {
    return JSON.parse(text);
  } catch {
    sessionStorage.removeItem(KEY); // written by something else; sign in again
    return null;
  }
}

/** @param {Credential} value */
export function remember(value) {
  sessionStorage.setItem(KEY, JSON.stringify(value));
}

/** Forget the credential and who it was. */
export function forget() {
  sessionStorage.removeItem(KEY);
  me = null;
}

/**
 * Value of the Authorization header, or null when nobody is signed in.
 * @param {Credential | null} [value]
 */
export function authorization(value = credential()) {
  if (!value) return null;
  if (value.kind === "token") return `Bearer ${value.token}`;
  const raw = new TextEncoder().encode(`${value.user}:${value.password}`);
  return `Basic ${btoa(String.fromCharCode(...raw))}`;
}

/** @param {Me} value */
export function setMe(value) {
  me = value;
}

/** Who is signed in, as the server said. @returns {Me | null} */
export function whoAmI() {
  return me;
}

/**
 * Whether the role covers this one. The server decides; this only hides what it would refuse.
 * @param {"read" | "write" | "operate" | "admin"} role
 */
export function may(role) {
  return me !== null && RANKS.indexOf(me.role) >= RANKS.indexOf(role);
}
