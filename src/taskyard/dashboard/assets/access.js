// Tokens, users and secrets of the workspace.

import { at, call, get } from "./api.js";
import { ask, show } from "./dialog.js";
import { el, fill } from "./element.js";
import { timeElement } from "./format.js";
import { notice } from "./notice.js";
import { asProblem, isAbort, problemBox } from "./problem.js";

/** @type {[string, string][]} */
const ROLES = [["read", "read: see everything"], ["write", "write: submit and cancel"], ["operate", "operate: pause and limit groups"], ["admin", "admin: tokens, users, secrets"]];

/** @typedef {(reload: () => void) => Promise<void>} Adding */

/**
 * A section with a table of something.
 * @param {object} options
 * @param {string} options.title
 * @param {string} options.path of the list
 * @param {string} options.empty
 * @param {string} options.add words on the button
 * @param {string[]} options.heads
 * @param {(item: any) => import("./element.js").Child[]} options.cells
 * @param {Adding} options.onAdd
 * @param {(item: any) => {name: string, path: string, words: string, text: string} | null} options.removal
 * @param {AbortSignal} options.signal
 */
function listing({ title, path, empty, add, heads, cells, onAdd, removal, signal }) {
  const body = el("div");
  const load = async () => {
    try {
      const { items } = await get(path, { limit: 500 }, signal);
      fill(body, items.length === 0 ? el("p", { class: "empty" }, empty) : el("div", { class: "card flush" }, el("table", { class: "list" },
        el("thead", null, el("tr", null, heads.map((head) => el("th", { scope: "col" }, head)), el("th", { scope: "col" }, el("span", { class: "unseen" }, "Actions")))),
        el("tbody", null, items.map((/** @type {any} */ item) => el("tr", null,
          cells(item).map((cell, i) => el("td", { data: { label: heads[i] } }, cell)),
          el("td", { class: "buttons" }, remover(removal(item)))))))));
    } catch (error) {
      if (!isAbort(error)) fill(body, problemBox(`${title} could not be loaded`, asProblem(error), load));
    }
  };
  /** @param {{name: string, path: string, words: string, text: string} | null} what */
  const remover = (what) => what && el("button", {
    type: "button", class: "small danger", "aria-label": `${what.words} ${what.name}`,
    onclick: async () => {
      const run = async () => {
        await call("DELETE", what.path);
        notice(`${what.name}: done`);
      };
      if (await ask({ title: `${what.words} ${what.name}?`, text: what.text, action: what.words, danger: true, run })) void load();
    },
  }, what.words);
  void load();
  return el("section", null, el("div", { class: "row head" }, el("h2", { class: "grow" }, title), el("button", { type: "button", onclick: () => void onAdd(load) }, add)), body);
}

/** @type {Adding} */
async function addToken(reload) {
  let made = "";
  const done = await ask({
    title: "New token", action: "Create",
    fields: [
      { name: "name", label: "Name", hint: "what will use it", wide: "wide" },
      { name: "role", label: "Role", kind: "select", value: "write", options: ROLES },
      { name: "expires_in_s", label: "Expires in (seconds)", kind: "number", placeholder: "never" },
    ],
    run: async (values) => {
      if (values.expires_in_s === null) delete values.expires_in_s;
      made = (await call("POST", "/tokens", { body: { ...values, name: values.name ?? "" } })).token;
    },
  });
  if (!done) return;
  reload();
  await show("The new token", el("p", { class: "dim" }, "It is shown this once. Copy it now."), el("pre", { class: "command", tabindex: "0" }, made));
}

/** @type {Adding} */
async function addUser(reload) {
  const done = await ask({
    title: "New user", action: "Create",
    fields: [
      { name: "name", label: "Name" }, { name: "password", label: "Password", kind: "password" },
      { name: "role", label: "Role", kind: "select", value: "read", options: ROLES, wide: "wide" },
    ],
    run: async (values) => {
      await call("POST", "/users", { body: { ...values, name: values.name ?? "", password: values.password ?? "" } });
    },
  });
  if (done) reload();
}

/** @type {Adding} */
async function setSecret(reload) {
  const done = await ask({
    title: "Set a secret", action: "Set",
    text: "Tasks refer to it by name in their environment. A value that exists is replaced.",
    fields: [{ name: "name", label: "Name" }, { name: "value", label: "Value", kind: "password" }],
    run: async (values) => {
      await call("PUT", at`/secrets/${values.name ?? ""}`, { body: { value: values.value ?? "" } });
    },
  });
  if (done) reload();
}

/** @type {import("./router.js").Page} */
export function accessPage({ root, signal, title }) {
  title("Access");
  fill(root, el("h1", null, "Access"),
    listing({
      title: "Tokens", path: "/tokens", empty: "No tokens.", add: "New token", heads: ["Name", "Role", "Created", "Last used", "Expires"],
      cells: (token) => [el("strong", null, token.name), token.revoked_at ? el("span", { class: "badge", data: { state: "cancelled" } }, "revoked") : token.role,
        timeElement(token.created_at), timeElement(token.last_used_at), token.expires_at ? timeElement(token.expires_at) : "never"],
      removal: (token) => token.revoked_at ? null : { name: token.name, path: at`/tokens/${token.id}`, words: "Revoke", text: "Whatever uses it is refused from now on." },
      onAdd: addToken, signal,
    }),
    listing({
      title: "Users", path: "/users", empty: "No users.", add: "New user", heads: ["Name", "Role", "Created"],
      cells: (user) => [el("strong", null, user.name), user.role, timeElement(user.created_at)],
      removal: (user) => ({ name: user.name, path: at`/users/${user.name}`, words: "Delete", text: "They cannot sign in any more." }),
      onAdd: addUser, signal,
    }),
    listing({
      title: "Secrets", path: "/secrets", empty: "No secrets. Their values are kept encrypted and never shown.", add: "Set a secret", heads: ["Name"],
      cells: (secret) => [el("strong", null, nameOf(secret))],
      removal: (secret) => ({ name: nameOf(secret), path: at`/secrets/${nameOf(secret)}`, words: "Delete", text: "Tasks that refer to it fail from now on." }),
      onAdd: setSecret, signal,
    }));
}

/** @param {any} secret a name, or an object that has one @returns {string} */
function nameOf(secret) {
  return typeof secret === "string" ? secret : secret.name;
}
