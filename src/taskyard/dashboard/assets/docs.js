// The API description as a page: fetches it, and hands it to the viewer that was loaded before.

import { authorization } from "./session.js";

const note = /** @type {HTMLElement} */ (document.getElementById("docs-note"));

/** @param {string} text */
function say(text) {
  note.textContent = text;
}

async function show() {
  const credential = authorization();
  /** @type {Record<string, string>} */
  const headers = credential ? { Authorization: credential } : {};
  let answer;
  try {
    answer = await fetch("/openapi.json", { headers });
  } catch {
    say("The server does not answer. Check that it runs, then reload this page.");
    return;
  }
  if (!answer.ok) {
    say(`The server answered ${answer.status} for /openapi.json. Sign in to the dashboard, then reload this page.`);
    return;
  }
  const viewer = /** @type {any} */ (window).SwaggerUIBundle;
  if (!viewer) {
    say("The viewer could not be loaded. The description itself is at /openapi.json.");
    return;
  }
  viewer({
    dom_id: "#docs",
    spec: await answer.json(),
    deepLinking: true,
    docExpansion: "list",
    defaultModelsExpandDepth: 0,
    tryItOutEnabled: false,
    validatorUrl: null,
    // "Execute" uses the dashboard's sign-in, unless another credential was entered in the page.
    requestInterceptor: (/** @type {any} */ request) => {
      const local = new URL(request.url, location.href).origin === location.origin;
      const present = Object.keys(request.headers).some((name) => name.toLowerCase() === "authorization");
      if (credential && local && !present) request.headers.Authorization = credential;
      return request;
    },
  });
}

void show();
