// Signing in: with a token, or with a user's name and password.

import { call } from "./api.js";
import { el, fill } from "./element.js";
import { Fields } from "./fields.js";
import { asProblem } from "./problem.js";
import { remember, setMe } from "./session.js";
import { themeButton } from "./theme.js";

/**
 * Ask the server who a credential is, and keep it if it is somebody.
 * @param {import("./session.js").Credential} credential
 */
export async function signIn(credential) {
  const me = await call("GET", "/me", { as: credential });
  remember(credential);
  setMe(me);
}

/**
 * Whether the server says that it runs with the well-known credentials of `--dev`. Only `/health`
 * can be asked: everything below the API's base wants a credential first.
 */
export async function isDevServer() {
  try {
    const answer = await fetch("/health", { cache: "no-store", credentials: "omit" });
    return (await answer.json())?.dev === true;
  } catch {
    return false; // no answer or no JSON: not a server that says so
  }
}

/**
 * Show the form; resolves once somebody is signed in.
 * @param {HTMLElement} app
 * @param {string} reason why it is shown again; empty at first
 * @returns {Promise<void>}
 */
export function showSignIn(app, reason) {
  document.title = "Sign in · Taskyard";
  return new Promise((resolve) => {
    const token = new Fields([{ name: "token", label: "Token", kind: "password", hint: "From “taskyard token create”. Kept in this tab only.", wide: "wide" }]);
    const basic = new Fields([
      { name: "user", label: "User", wide: "wide" },
      { name: "password", label: "Password", kind: "password", wide: "wide" },
    ]);
    basic.input("user").autocomplete = "username";
    basic.input("password").autocomplete = "current-password";
    let chosen = token;
    const button = el("button", { type: "submit", class: "primary" }, "Sign in");
    const place = el("div");
    const ways = /** @type {[string, Fields][]} */ ([["Token", token], ["User and password", basic]]);
    const tabs = ways.map(([words, fields], i) =>
      el("button", { type: "button", "aria-pressed": i === 0 ? "true" : "false", onclick: () => choose(fields) }, words));

    /** @param {Fields} fields */
    function choose(fields) {
      chosen = fields;
      tabs.forEach((tab, i) => tab.setAttribute("aria-pressed", String((i === 0) === (fields === token))));
      fill(place, fields.node);
      place.querySelector("input")?.focus();
    }

    /** @param {Event} event */
    async function submit(event) {
      event.preventDefault();
      chosen.clearProblems();
      const values = chosen.values();
      button.disabled = true;
      try {
        await signIn(chosen === token
          ? { kind: "token", token: (values.token ?? "").trim() }
          : { kind: "basic", user: values.user ?? "", password: values.password ?? "" });
        resolve();
      } catch (error) {
        chosen.showProblem("You are not signed in", asProblem(error));
      }
      button.disabled = false;
    }

    fill(app, el("main", { id: "main", class: "signin", tabindex: "-1" },
      el("form", { class: "card", onsubmit: submit, novalidate: true },
        el("div", { class: "signin-head" },
          el("img", { src: new URL("icon.svg", import.meta.url).pathname, alt: "", width: 40, height: 40 }),
          el("h1", null, "Taskyard"), themeButton()),
        reason && el("p", { class: "message", role: "alert" }, reason),
        el("div", { class: "segments", role: "group", "aria-label": "Way to sign in" }, tabs),
        place, button)));
    choose(token);
  });
}
